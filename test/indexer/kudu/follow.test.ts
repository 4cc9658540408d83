import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { createKuduDataset, dropKuduDataset } from '../../../kudu-store/manage.ts';
import { fenceOf } from '../../../kudu-store/columns.ts';
import { TEN, until } from '../../support/pipeline.ts';
import { testServers } from '../../support/servers.ts';
import { insertRows, type RunningIndexer } from '../../support/indexer.ts';
import { kuduIndex, type KuduIndex } from './support/kudu-index.ts';

const positionOf = async ({ pool, dataset }: KuduIndex) =>
  (
    await pool.query<{ position: string | null; generation: number }>(
      'select position::text, generation from imagehub.kudu_index_feeds where dataset = $1',
      [dataset],
    )
  ).rows[0]!;

describe('the index of a dataset in Kudu, while an indexer runs,', () => {
  let index: KuduIndex;
  let indexer: RunningIndexer;
  beforeAll(async () => {
    index = await kuduIndex();
    indexer = index.start({ config: { kuduIndexMs: 200 } });
  });
  afterAll(async () => {
    await index[Symbol.asyncDispose]();
  });

  test('follows inserts, updates, deletions, and an image that comes back', async () => {
    const { dataset } = index;
    await index.put([
      { id: 'a', known_label: 3, prediction: 3 },
      { id: 'b', prediction: -1 },
    ]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '3', correct: true });
    expect(await index.document('b', dataset)).not.toHaveProperty('predicted_class');

    await index.put([{ id: 'a', known_label: 4, prediction: 3 }]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '4', correct: false });

    await index.remove(['a']);
    await index.follows();
    expect(await index.document('a', dataset)).toBeUndefined();

    await index.put([{ id: 'a', known_label: 9 }]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '9' });
    // It is one index, built once.
    expect((await positionOf(index)).generation).toBe(1);
  });

  test('a label that somebody sets in Kudu, which no revision tells of', async () => {
    const { dataset, table, kudu } = index;
    await index.put([{ id: 'a', known_label: 1 }]);
    await index.follows();
    const session = kudu.session();
    session.update(table, { id: 'a', known_label: 7, labelled_by: 'somebody' });
    await session.flush();
    await until(
      async () => (await index.document('a', dataset))?.known_label === 7,
      'the label is in the index',
      20_000,
    );
  });

  test('a refused document is recorded, holds up nothing, and is forgotten when its row changes or goes', async () => {
    const { dataset, pool } = index;
    // Deeper than the 20 levels that a flattened field takes.
    let exif: unknown = 'bottom';
    for (let level = 0; level < 30; level++) exif = { deeper: exif };
    const deep = JSON.stringify(exif);
    await index.put([{ id: 'first' }]);
    await index.follows();
    await index.put([{ id: 'deep', exif: deep }, { id: 'deeper', exif: deep }, { id: 'good' }]);
    const refused = async () =>
      (
        await pool.query<{ id: string }>(
          'select id from imagehub.index_dead_documents where dataset = $1 order by id',
          [dataset],
        )
      ).rows.map(({ id }) => id);
    await until(async () => (await refused()).length === 2, 'both are recorded');
    await until(async () => (await index.document('good', dataset)) !== undefined, 'the neighbour is there');
    // Longer than the caretaker needs to forget what it thinks resolved.
    await sleep(2500);
    expect(await refused()).toEqual(['deep', 'deeper']);
    await index.put([{ id: 'deep', exif: '{}' }]);
    await index.remove(['deeper']);
    await index.follows();
    await until(async () => (await refused()).length === 0, 'both are forgotten');
  });

  test('columns that are renamed, added and dropped meanwhile', async () => {
    const { dataset, kudu } = index;
    await index.put([{ id: 'a', camera: 'X100' }]);
    await index.follows();
    const { now, next } = fenceOf((await kudu.openTable(dataset)).schema.columns)!;
    await kudu.alterTable(dataset, [
      { renameColumn: now, to: next },
      { addColumn: { name: 'extra', type: 'INT32', nullable: true } },
    ]);
    await index.put([{ id: 'b', camera: 'X100' }], await kudu.openTable(dataset));
    await index.follows();
    await kudu.alterTable(dataset, [{ dropColumn: 'camera' }]);
    await index.put([{ id: 'c', format: 'png' }], await kudu.openTable(dataset));
    await index.follows();
    expect(await index.document('b', dataset)).toHaveProperty('camera');
    expect(await index.document('c', dataset)).toMatchObject({ format: 'png' });
    expect(indexer.lines.some(({ msg }) => /built anew/.test(msg))).toBe(false);
  });
});

describe('the index of a dataset in Kudu', () => {
  test('catches up after being off: changed often, deleted and come back, come and gone meanwhile', async () => {
    await using index = await kuduIndex();
    const { dataset, pool } = index;
    const first = index.start();
    const rows = (from: number, to: number, known_label: number) =>
      Array.from({ length: to - from }, (_, i) => ({ id: `${from + i}.png`, known_label }));
    await index.put(rows(0, 2000, 1));
    await index.follows();
    await first.stop();

    for (const label of [2, 3, 4]) await index.put(rows(0, 500, label));
    await index.remove(rows(100, 300, 0).map(({ id }) => id));
    await index.put(rows(200, 300, 5));
    await index.put(rows(5000, 5100, 6));
    await index.remove(rows(5000, 5100, 0).map(({ id }) => id));
    await index.put(rows(6000, 9000, 7));
    expect((await index.reconcile(dataset)).equal).toBe(false);
    const { generation } = await positionOf(index);
    index.start();
    await index.follows();
    expect((await positionOf(index)).generation).toBe(generation);
    const label = async (id: string) => (await index.document(id, dataset))?.known_label;
    expect(await Promise.all(['0.png', '150.png', '250.png', '5000.png', '8999.png'].map(label))).toEqual([
      4,
      undefined,
      5,
      undefined,
      7,
    ]);
    // The dataset in Postgres goes on beside it.
    await insertRows(pool, 10);
    await index.inStep('mnist');
  });

  test('a deletion that Postgres does not remember, and one whose image is back by then', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, table, kudu } = index;
    const first = index.start();
    await index.put([{ id: 'pruned' }, { id: 'back', known_label: 1 }, { id: 'stays' }, { id: 'again' }]);
    await index.follows();
    await first.stop();
    await index.remove(['pruned', 'back']);
    await pool.query('delete from imagehub.deleted_images');
    index.start();
    await index.follows();
    expect(await index.document('pruned', dataset)).toBeUndefined();
    expect(await index.document('stays', dataset)).toBeDefined();
    await index.put([{ id: 'back', known_label: 2 }]);
    await index.follows();
    // Taken out of Kudu by somebody, past the hub; of one of them an earlier deletion is remembered, from which it came back.
    await index.remove(['again']);
    await pool.query("update imagehub.deleted_images set restored_at = now() where id = 'again'");
    await index.put([{ id: 'again' }]);
    await index.follows();
    const session = kudu.session();
    session.delete(table, { id: 'stays' });
    session.delete(table, { id: 'again' });
    await session.flush();
    await index.follows();
    expect(await index.document('stays', dataset)).toBeUndefined();
    expect(await index.document('again', dataset)).toBeUndefined();
    expect(await index.document('back', dataset)).toMatchObject({ known_label: 2 });
  });

  test('of a dataset that is dropped goes, and of one made again under its name shows nothing of the old one', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, client, config, kudu } = index;
    index.start();
    await index.put([{ id: 'old' }]);
    await index.follows();
    await dropKuduDataset(pool, testServers().kudu, dataset);
    await createKuduDataset(
      pool,
      testServers().kudu,
      { name: dataset, classes: TEN },
      { partitions: 2, replicas: 1 },
    );
    await index.put([{ id: 'new' }], await kudu.openTable(dataset));
    await until(
      async () => (await index.document('new', dataset).catch(() => undefined)) !== undefined,
      'the new one',
    );
    await index.follows();
    expect(await index.document('old', dataset)).toBeUndefined();
    await dropKuduDataset(pool, testServers().kudu, dataset);
    await until(
      async () =>
        Object.keys(await client.indices.get({ index: `${config.indexPrefix}-${dataset}-*` })).length === 0,
      'the index is removed',
    );
    expect((await pool.query('select from imagehub.kudu_index_feeds')).rowCount).toBe(0);
  });

  test('a second indexer takes over where the first left off, and an idle dataset is looked at, not written', async () => {
    await using index = await kuduIndex();
    const first = index.start();
    await index.put([{ id: 'a' }]);
    await index.follows();
    const second = index.start();
    await until(
      () => Promise.resolve(second.lines.some(({ msg }) => /standing by/.test(msg))),
      'it stands by',
    );
    await first.stop();
    await index.put([{ id: 'b' }]);
    await index.follows();
    const before = await positionOf(index);
    await sleep(2500);
    expect(await positionOf(index)).toEqual(before);
    expect(before.generation).toBe(1);
  });
});
