import { describe, expect, test } from '@jest/globals';
import { floatText } from '../../../indexer/kudu/row-text.ts';
import { insertOddRows } from '../../image-store/support/odd-rows.ts';
import { twins } from '../../image-store/support/twins.ts';
import { testIndex, type TestIndex } from '../../support/indexer.ts';
import { freshDatabase } from '../../support/servers.ts';

async function documentsOf({ client, config }: TestIndex, dataset: string) {
  const { hits } = await client.search<Record<string, unknown>>({
    index: `${config.indexPrefix}-${dataset}`,
    size: 1000,
    version: true,
    sort: ['id'],
  });
  return hits.hits.map(({ _id, _version, _source }) => {
    expect(_id).toBe(`${dataset}/${String(_source!.id)}`);
    const { dataset: named, ...document } = _source!;
    expect(named).toBe(dataset);
    return { ...document, _version };
  });
}

describe('documents of rows in Kudu', () => {
  test('are those of the same rows in Postgres, whatever the columns hold', async () => {
    await using both = await twins((pool, dataset) => insertOddRows(pool, dataset, 120));
    const { url, pool } = both.database;
    await using index = await testIndex({
      kudu: both.kudu,
      database: { url, pool, [Symbol.asyncDispose]: () => Promise.resolve() },
    });
    index.start();
    await index.inStep(both.datasets.postgres);
    await index.inStep(both.datasets.kudu);
    const expected = await documentsOf(index, both.datasets.postgres);
    expect(expected).toHaveLength(120);
    expect(await documentsOf(index, both.datasets.kudu)).toEqual(expected);

    // The same by a scan of changes.
    await pool.query(
      `update ${both.datasets.postgres} set object_count = object_count + 1, confidence = 0.1, latitude = -0.0`,
    );
    await both.copy();
    await index.inStep(both.datasets.postgres);
    await index.inStep(both.datasets.kudu);
    const changed = await documentsOf(index, both.datasets.postgres);
    expect(changed).not.toEqual(expected);
    expect(await documentsOf(index, both.datasets.kudu)).toEqual(changed);
  });

  test('have numbers of 32 bits as Postgres prints them', async () => {
    await using database = await freshDatabase();
    const bits = new DataView(new ArrayBuffer(4));
    const numbers = Array.from({ length: 3000 }, (_, i) => {
      // Powers of two from 2^-90 to 2^85, and what lies between here and there.
      bits.setUint32(0, i < 175 ? (i + 37) << 23 : (i * 2_654_435_761) >>> 0);
      return bits.getFloat32(0);
    }).filter(Number.isFinite);
    const { rows } = await database.pool.query<{ text: string }>(
      'select f::real::text as text from unnest($1::float8[]) with ordinality as n (f, ord) order by ord',
      [numbers],
    );
    expect(numbers.map((number) => Number(floatText(number)))).toEqual(rows.map(({ text }) => Number(text)));
  });
});
