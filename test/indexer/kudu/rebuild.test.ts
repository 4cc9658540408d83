import { describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { rebuildIndex } from '../../../indexer/rebuild.ts';
import { until } from '../../support/pipeline.ts';
import { kuduIndex, type KuduIndex } from './support/kudu-index.ts';

const rows = (count: number, from = 0, more = {}) =>
  Array.from({ length: count }, (_, i) => ({ id: `${from + i}.png`, ...more }));

const alias = ({ config, dataset }: KuduIndex) => `${config.indexPrefix}-${dataset}`;

const indexNames = async (index: KuduIndex) =>
  Object.keys(await index.client.indices.get({ index: `${alias(index)}-*` })).sort();

/** Inserts, updates, deletes and inserts again until told to stop. */
function keepWriting(index: KuduIndex): { stop(): Promise<number> } {
  let going = true;
  const work = (async () => {
    let writes = 0;
    for (let i = 0; going; i++) {
      await index.put([
        { id: `new${i}.png` },
        { id: `${(i * 13) % 3000}.png`, prediction: i % 10 },
        { id: 'often.png', object_count: i },
      ]);
      await index.remove([`${(i * 7) % 3000}.png`, ...(i % 3 === 0 ? [`new${i}.png`] : [])]);
      if (i % 6 === 0) await index.put([{ id: `new${i}.png`, prediction: 1 }]);
      writes += 5;
      await sleep(5);
    }
    return writes;
  })();
  return {
    stop() {
      going = false;
      return work;
    },
  };
}

describe('rebuilding the index of a dataset in Kudu', () => {
  test('without an indexer running, while the old one serves; the next indexer has nothing to repair', async () => {
    await using index = await kuduIndex();
    const { dataset } = index;
    await index.put(rows(2500));
    const seen: [number, number | undefined][] = [];
    const first = await rebuildIndex(dataset, {
      ...index.rebuildOptions,
      onProgress: (done, total) => seen.push([done, total]),
    });
    expect(first).toMatchObject({ dataset, index: `${alias(index)}-000001`, rows: 2500, scanned: 2500 });
    expect(seen.at(-1)).toEqual([2500, 2500]);
    expect((await index.reconcile(dataset)).equal).toBe(true);
    await index.remove(['3.png']);
    const second = await index.rebuild(dataset);
    expect(second).toMatchObject({ rows: 2499, documents: 2499, index: `${alias(index)}-000002` });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
    index.start();
    await index.put(rows(10, 5000));
    await index.follows();
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
  });

  test('while rows are written and an indexer follows, it loses nothing and never stops serving', async () => {
    await using index = await kuduIndex();
    const { dataset, client } = index;
    await index.put(rows(3000));
    index.start({ config: { kuduIndexMs: 50 } });
    await index.follows();
    const writer = keepWriting(index);
    let polls = 0;
    let polling = true;
    const poller = (async () => {
      for (; polling; polls++) {
        expect((await client.count({ index: alias(index) })).count).toBeGreaterThan(1000);
        await sleep(20);
      }
    })();
    for (let i = 0; i < 3; i++) {
      const { rows, documents } = (await index.rebuild(dataset))!;
      expect(documents).toBe(rows);
    }
    polling = false;
    await poller;
    expect(await writer.stop()).toBeGreaterThan(50);
    expect(polls).toBeGreaterThan(10);
    await index.follows();
    expect(await indexNames(index)).toHaveLength(1);
  });

  test('puts again what whoever follows had put into the old index only', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, client } = index;
    await index.put(rows(100));
    index.start({ config: { kuduIndexMs: 50 } });
    await index.follows();
    // Changes that come between the new index's last scan and the swap go into the old one.
    let swaps = 0;
    const slowSwap = new Proxy(client, {
      get(target, name) {
        if (name !== 'indices') return Reflect.get(target, name, target) as unknown;
        return new Proxy(target.indices, {
          get(indices, method) {
            const value = Reflect.get(indices, method, indices) as (...args: unknown[]) => Promise<unknown>;
            if (method !== 'updateAliases') return typeof value === 'function' ? value.bind(indices) : value;
            return async (...args: unknown[]) => {
              swaps++;
              await index.put(rows(5, 1000));
              await index.remove(['3.png']);
              await until(
                async () => (await index.document('1004.png', dataset)) !== undefined,
                'the old index has it',
              );
              return await value.apply(indices, args);
            };
          },
        });
      },
    });
    await rebuildIndex(dataset, { ...index.rebuildOptions, client: slowSwap });
    expect(swaps).toBe(1);
    await index.follows();
    expect(await index.document('1004.png', dataset)).toBeDefined();
    expect(await index.document('3.png', dataset)).toBeUndefined();
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
    expect((await pool.query('select from imagehub.index_dead_documents')).rowCount).toBe(0);
  });

  test('puts in what is removed before whoever follows begins behind it; the document goes', async () => {
    await using index = await kuduIndex();
    const { dataset } = index;
    await index.put(rows(10));
    await index.rebuild(dataset);
    await index.put([{ id: 'came.png' }]);
    await index.rebuild(dataset);
    await index.remove(['came.png']);
    index.start();
    await index.follows();
    expect(await index.document('came.png', dataset)).toBeUndefined();
  });

  test('happens by itself when a class is renamed, and when the index is gone', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, client } = index;
    index.start();
    await index.put(rows(20, 0, { prediction: 3 }));
    await index.follows();
    await pool.query(`update imagehub.classes set name = 'drei' where dataset = $1 and index = 3`, [dataset]);
    await until(
      async () => (await index.document('0.png', dataset))?.predicted_class === 'drei',
      'the name is in the index',
    );
    await until(async () => (await indexNames(index)).length === 1, 'the old index is removed');
    const [name] = await indexNames(index);
    await client.indices.delete({ index: name! });
    await until(async () => (await index.reconcile(dataset).catch(() => null))?.equal === true, 'it is back');
    await index.put(rows(20, 100));
    await index.follows();
  });

  test('a class that was just added is named in the documents of its first images', async () => {
    await using index = await kuduIndex();
    const { dataset, pool } = index;
    index.start({ config: { kuduIndexMs: 50 } });
    await index.put([{ id: 'a' }]);
    await index.follows();
    for (let added = 10; added < 15; added++) {
      await pool.query('insert into imagehub.classes (dataset, index, name) values ($1, $2, $3)', [
        dataset,
        added,
        `class ${added}`,
      ]);
      await index.put([{ id: `${added}`, prediction: added }]);
    }
    await index.follows();
    for (let added = 10; added < 15; added++)
      expect(await index.document(`${added}`, dataset)).toMatchObject({ predicted_class: `class ${added}` });
  });

  test('leaves out rows whose deletion holds and is still to be carried out in Kudu', async () => {
    await using index = await kuduIndex();
    const { dataset, pool, table, kudu } = index;
    await index.put(rows(10));
    await pool.query(
      `insert into imagehub.deleted_images (dataset, id, in_kudu) values ($1, '3.png', true), ($1, '4.png', true)`,
      [dataset],
    );
    expect(await index.rebuild(dataset)).toMatchObject({ rows: 8, documents: 8 });
    expect(await index.document('3.png', dataset)).toBeUndefined();
    index.start();
    const session = kudu.session();
    session.delete(table, { id: '3.png' });
    session.delete(table, { id: '4.png' });
    await session.flush();
    await pool.query('update imagehub.deleted_images set in_kudu = false');
    await index.put([{ id: 'next.png' }]);
    await index.follows();
  });

  test('that is interrupted leaves the old index serving and followed', async () => {
    await using index = await kuduIndex();
    const { dataset, rebuildOptions } = index;
    index.start();
    await index.put(rows(3000));
    await index.follows();
    const stop = new AbortController();
    await expect(
      rebuildIndex(dataset, { ...rebuildOptions, signal: stop.signal, onProgress: () => stop.abort() }),
    ).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000001`]);
    await index.put(rows(1, 9000));
    await index.follows();
  });
});
