import { describe, expect, test } from '@jest/globals';
import { putAgain } from '../../../indexer/kudu/put-again.ts';
import { readPosition } from '../../../indexer/kudu/position.ts';
import { KuduConnection } from '../../../kudu-store/connection.ts';
import { KuduImages } from '../../../kudu-store/read/kudu-images.ts';
import type { StoredImages } from '../../../sql/stored-images.ts';
import { TEN, until } from '../../support/pipeline.ts';
import { kuduIndex, type KuduIndex } from './support/kudu-index.ts';

const alias = ({ config, dataset }: KuduIndex) => `${config.indexPrefix}-${dataset}`;
const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: `${i}.png`, known_label: i % 10, width: 28 }));

/** Puts something else into the index, as of the same row. */
async function damage(index: KuduIndex, ...ids: string[]): Promise<void> {
  for await (const { id, revision } of index.table.scan({ columns: ['id', 'revision'] }).rows()) {
    if (!ids.includes(id as string)) continue;
    await index.client.index({
      index: alias(index),
      id: `${index.dataset}/${id as string}`,
      version: Number(revision),
      version_type: 'external_gte',
      document: { id, revision: Number(revision), camera: 'damaged' },
    });
  }
}

describe('index rebuild --where of a dataset in Kudu', () => {
  test('puts the documents of matching rows again, in place, and tells how far it is', async () => {
    await using index = await kuduIndex();
    const { dataset, client } = index;
    await index.put(rows(2500));
    await index.rebuild(dataset);
    await damage(index, '15.png', '16.png');
    await client.delete({ index: alias(index), id: `${dataset}/25.png` });
    const seen: [number, number | undefined][] = [];
    index.rebuildOptions.onProgress = (done, total) => seen.push([done, total]);
    const result = await index.reput("known_label in (4, 5) and i.width = 28 -- a comment's end", dataset);
    expect(result).toMatchObject({ dataset, scanned: 500, alias: alias(index) });
    expect(seen.at(-1)).toEqual([500, 500]);
    expect(await index.document('15.png', dataset)).toMatchObject({ known_class: '5', width: 28 });
    expect(await index.document('25.png', dataset)).toBeUndefined();
    expect(await index.document('16.png', dataset)).toMatchObject({ camera: 'damaged' });
    expect(Object.keys(await client.indices.get({ index: `${alias(index)}-*` }))).toEqual([
      `${alias(index)}-000001`,
    ]);
  });

  test('leaves out rows whose deletion holds already, and documents that are newer', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, client } = index;
    await index.put(rows(3));
    await index.rebuild(dataset);
    await pool.query(
      `insert into imagehub.deleted_images (dataset, id, in_kudu) values ($1, '0.png', true)`,
      [dataset],
    );
    const newer = { id: '1.png', revision: 10 ** 9 };
    await client.index({
      index: alias(index),
      id: `${dataset}/1.png`,
      version: 10 ** 9,
      version_type: 'external',
      document: newer,
    });
    expect(await index.reput('true', dataset)).toMatchObject({ scanned: 2 });
    expect(await index.document('1.png', dataset)).toEqual(newer);
  });

  test('replaces nothing for good that an indexer put meanwhile: a label that somebody set in Kudu, a deletion', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, kudu, table, servers } = index;
    const indexer = index.start({ config: { kuduIndexMs: 50 } });
    await index.put(rows(20));
    await index.follows();
    using connection = new KuduConnection(servers.kudu);
    const images = new KuduImages(connection);
    const label = async () => (await index.document('7.png', dataset))?.known_label;
    /** Between the choice of rows and the first of their documents. */
    const query: StoredImages['query'] = async (...asked) => {
      const found = await images.query(...asked);
      const session = kudu.session();
      session.update(table, { id: '7.png', known_label: 1, labelled_by: 'somebody' });
      await session.flush();
      await index.remove(['8.png']);
      await until(
        async () => (await label()) === 1 && (await index.document('8.png', dataset)) === undefined,
        'the indexer has put that',
      );
      // Its position is past it, too.
      await index.follows();
      await indexer.stop();
      return found;
    };
    const chosen = { query, hold: images.hold.bind(images) };
    const options = index.rebuildOptions;
    const target = { index: alias(index), bornRevision: 0, classes: TEN };
    const job = { dataset, target, where: 'known_label > 5', options, signal: options.signal };
    expect(await putAgain(job, table, chosen)).toBe(8);
    expect(await label()).toBe(7);
    expect(await readPosition(pool, dataset)).toMatchObject({ ends: [expect.any(BigInt)] });
    index.start({ config: { kuduIndexMs: 50 } });
    await until(async () => (await label()) === 1, 'the label is there again');
    await index.follows();
    expect(await index.document('8.png', dataset)).toBeUndefined();
  });

  test('of an index that is to be built anew leaves that as it is', async () => {
    await using index = await kuduIndex();
    const { dataset, pool } = index;
    await index.put(rows(3));
    await index.rebuild(dataset);
    await pool.query('update imagehub.kudu_index_feeds set position = null where dataset = $1', [dataset]);
    await index.reput('true', dataset);
    expect(await readPosition(pool, dataset)).toMatchObject({ position: null });
  });

  test('refuses a condition that does not work, or writes; and without an index says how it is built', async () => {
    await using index = await kuduIndex();
    const { dataset } = index;
    await index.put(rows(3));
    await expect(index.reput('true', dataset)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      hint: expect.stringContaining(`imagehub index rebuild ${dataset}`),
    });
    await index.rebuild(dataset);
    for (const where of [
      'no_such_column = 1',
      `true; delete from ${dataset}`,
      'known_label = ',
      'prediction / 0 = 1',
      "nextval('imagehub.revision') > 0",
    ]) {
      await expect(index.reput(where, dataset)).rejects.toMatchObject({ code: 'USAGE' });
    }
  });

  test('that is interrupted says so', async () => {
    await using index = await kuduIndex();
    const { dataset, rebuildOptions } = index;
    await index.put(rows(2500));
    await index.rebuild(dataset);
    const stop = new AbortController();
    Object.assign(rebuildOptions, { signal: stop.signal, onProgress: () => stop.abort() });
    await expect(index.reput('true', dataset)).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});
