import { describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { rebuildIndex } from '../../indexer/rebuild.ts';
import { fence, findSlots, slotName } from '../../indexer/slot.ts';
import type { HubPool } from '../../sql/database.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, testIndex, type TestIndex } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';

const alias = ({ config }: TestIndex) => `${config.indexPrefix}-mnist`;

async function indexNames(index: TestIndex): Promise<string[]> {
  return Object.keys(await index.client.indices.get({ index: `${alias(index)}-*` })).sort();
}

/** Inserts, updates, deletes and inserts again until told to stop. */
function keepWriting(pool: HubPool): { stop(): Promise<number> } {
  let going = true;
  const work = (async () => {
    let writes = 0;
    for (let i = 0; going; i++) {
      await pool.query("insert into mnist (id, image_base64, image_pgm) values ($1, '', '')", [`new${i}`]);
      await pool.query('update mnist set prediction = $2 where id = $1', [`image${(i * 13) % 3000}`, i % 10]);
      await pool.query('delete from mnist where id = $1', [`image${(i * 7) % 3000}`]);
      if (i % 3 === 0) await pool.query('delete from mnist where id = $1', [`new${i}`]);
      if (i % 6 === 0) {
        await pool.query("insert into mnist (id, image_base64, image_pgm) values ($1, '', '')", [`new${i}`]);
      }
      writes += 4;
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

describe('rebuilding an index', () => {
  test('without an indexer running: alias, counts, and nothing left of the old index', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 2500);
    const first = await index.rebuild();
    expect(first).toMatchObject({
      dataset: 'mnist',
      index: `${alias(index)}-000001`,
      rows: 2500,
      documents: 2500,
    });
    expect((await index.reconcile()).equal).toBe(true);

    await index.pool.query("delete from mnist where id = 'image3'");
    const second = await index.rebuild();
    expect(second).toMatchObject({
      index: `${alias(index)}-000002`,
      rows: 2499,
      documents: 2499,
      scanned: 2499,
    });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
    // An indexer that starts now has nothing to repair.
    index.start();
    await index.inStep();
  });

  test.each([true, false])(
    'while rows are written (indexer running: %s) it loses nothing and never stops serving',
    async (running) => {
      await using index = await testIndex();
      const { pool, client } = index;
      await insertRows(pool, 3000);
      if (running) {
        index.start();
        await index.inStep();
      } else await index.rebuild();

      const writer = keepWriting(pool);
      let polls = 0;
      let polling = true;
      const poller = (async () => {
        while (polling) {
          expect((await client.count({ index: alias(index) })).count).toBeGreaterThan(1000);
          polls++;
          await sleep(20);
        }
      })();
      for (let round = 0; round < 3; round++) await index.rebuild();
      polling = false;
      await poller;
      expect(polls).toBeGreaterThan(5);
      expect(await writer.stop()).toBeGreaterThan(50);

      if (!running) index.start();
      await index.inStep();
      const { rows } = await pool.query<{ id: string; prediction: number; revision: number }>(
        'select id, prediction, revision from mnist order by id limit 3000',
      );
      const found = await client.search<{ id: string; prediction: number; revision: number }>({
        index: alias(index),
        size: 3000,
        sort: [{ id: 'asc' }],
        _source: ['id', 'prediction', 'revision'],
      });
      expect(found.hits.hits.map(({ _source }) => _source)).toEqual(rows);
    },
  );

  test('what the indexer wrote into the old index just before the swap is in the new one', async () => {
    await using index = await testIndex();
    const { pool, client } = index;
    const indexer = index.start();
    await insertRows(pool, 10);
    await index.inStep();

    // The rebuild's own feed is held back from just before the swap until well after it.
    const released = Promise.withResolvers<void>();
    let held = false;
    const slowed = new Proxy(client, {
      get(target, name, receiver) {
        if (name === 'bulk') {
          return async (request: never) => {
            if (held) await released.promise;
            return target.bulk(request);
          };
        }
        if (name === 'indices') {
          return new Proxy(target.indices, {
            get(indices, method) {
              if (method !== 'updateAliases') return Reflect.get(indices, method).bind(indices);
              return async (request: never) => {
                held = true;
                // Two batches: one is held in flight, the other waits behind it.
                for (const id of ['late1', 'late2']) {
                  await insertImage(pool, 'mnist', { id });
                  await until(async () => (await index.document(id)) !== undefined, 'the old index has it');
                }
                const answer = await indices.updateAliases(request);
                setTimeout(released.resolve, 1000);
                return answer;
              };
            },
          });
        }
        return Reflect.get(target, name, receiver);
      },
    });
    await rebuildIndex('mnist', { ...index.rebuildOptions, client: slowed });
    await indexer.stop();
    expect(await index.document('late1')).toBeDefined();
    expect(await index.document('late2')).toBeDefined();
    expect((await index.reconcile()).equal).toBe(true);
  });

  test('with the indexer off and far behind: what it sends late changes nothing', async () => {
    await using index = await testIndex();
    const { pool } = index;
    const indexer = index.start();
    await insertRows(pool, 1000);
    await index.inStep();
    await indexer.stop();
    await pool.query("update mnist set prediction = 1; delete from mnist where id like 'image1%'");
    await pool.query('update mnist set prediction = 2');
    await index.rebuild();
    expect((await index.reconcile()).equal).toBe(true);
    const written = await fence(pool);
    index.start();
    await until(async () => {
      const [slot] = await findSlots(pool, await slotName(pool));
      return (slot?.confirmed ?? 0n) >= written;
    }, 'it has sent all of it');
    await index.inStep();
  });

  test('one rebuild at a time: the second waits for the first', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 2500);
    const [one, two] = await Promise.all([index.rebuild(), index.rebuild()]);
    expect([one!.index, two!.index].sort()).toEqual([`${alias(index)}-000001`, `${alias(index)}-000002`]);
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
    expect(index.lines.some(({ msg }) => /waiting for it/.test(msg))).toBe(true);
  });

  test('interrupted in the middle: the old index goes on serving and the half-built one is gone', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 5000);
    await index.rebuild();
    const stop = new AbortController();
    await expect(
      rebuildIndex('mnist', { ...index.rebuildOptions, signal: stop.signal, onProgress: () => stop.abort() }),
    ).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000001`]);
    expect((await index.reconcile()).equal).toBe(true);
  });

  test('half-built indexes that a killed rebuild left behind are removed by the next one', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 10);
    await index.rebuild();
    await index.client.indices.create({ index: `${alias(index)}-000002` });
    await index.client.indices.create({ index: `${alias(index)}-000007` });
    await index.rebuild();
    expect(await indexNames(index)).toEqual([`${alias(index)}-000002`]);
    expect((await index.reconcile()).equal).toBe(true);
  });

  test('a new index that lacks documents never serves', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 1500);
    await index.rebuild();
    const { client } = index;
    const forgetful = new Proxy(client, {
      get(target, name, receiver) {
        if (name !== 'bulk') return Reflect.get(target, name, receiver);
        return async (request: never) => {
          const answer = await target.bulk(request);
          await client
            .delete({
              index: `${alias(index)}-000002`,
              id: 'mnist/image1',
              version: 10 ** 9,
              version_type: 'external',
            })
            .catch(() => undefined);
          return answer;
        };
      },
    });
    const sabotaged = rebuildIndex('mnist', { ...index.rebuildOptions, client: forgetful });
    await expect(sabotaged).rejects.toMatchObject({ code: 'NOT_CONSISTENT' });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000001`]);
    expect((await index.reconcile()).equal).toBe(true);
  });

  test('the feed of a rebuild cut in the middle: it fails, and the next one succeeds', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 5000);
    await index.rebuild();
    const cut = rebuildIndex('mnist', {
      ...index.rebuildOptions,
      onProgress: () =>
        void index.pool.query(
          'select pg_terminate_backend(active_pid) from pg_replication_slots where temporary and database = current_database()',
        ),
    });
    await expect(cut).rejects.toThrow();
    expect(await indexNames(index)).toEqual([`${alias(index)}-000001`]);
    await index.rebuild();
    expect((await index.reconcile()).equal).toBe(true);
    // Postgres drops a temporary slot when it has noticed that its connection has ended.
    await until(async () => {
      const slots = await index.pool.query(
        'select from pg_replication_slots where database = current_database()',
      );
      return slots.rowCount === 0;
    }, 'no slot is left');
  });

  test('renaming a class rebuilds the index by itself, and later rows have the new name', async () => {
    await using index = await testIndex();
    const { pool } = index;
    index.start();
    await insertImage(pool, 'mnist', { id: 'before', prediction: 3 });
    await index.inStep();
    await pool.query("update imagehub.classes set name = 'three' where index = 3");
    await insertImage(pool, 'mnist', { id: 'after', prediction: 3 });
    await until(
      async () =>
        (await index.document('before'))?.predicted_class === 'three' &&
        (await index.document('after'))?.predicted_class === 'three',
      'both documents have the new name',
    );
    await until(async () => {
      const { rows } = await pool.query<{ due: boolean }>(
        'select rebuilds_wanted > rebuilds_done as due from imagehub.index_state',
      );
      return rows[0]!.due === false;
    }, 'the rebuild is done');
    await index.inStep();
  });

  test('an unknown dataset is refused with the names there are', async () => {
    await using index = await testIndex();
    await expect(index.rebuild('nothing')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringMatching(/mnist/),
    });
  });
});

describe('rebuild --where', () => {
  test('puts the matching documents again in place and touches no other', async () => {
    await using index = await testIndex();
    await insertRows(index.pool, 2000);
    await index.rebuild();
    const { rows } = await index.pool.query<{ id: string; revision: number }>(
      "select id, revision from mnist where id in ('image5', 'image6')",
    );
    for (const { id, revision } of rows) {
      await index.client.index({
        index: alias(index),
        id: `mnist/${id}`,
        version: revision,
        version_type: 'external_gte',
        document: { id, revision, camera: 'damaged' },
      });
    }
    const result = await index.reput("known_label = 5 -- a comment's end");
    expect(result).toMatchObject({ scanned: 200, alias: alias(index) });
    expect(await index.document('image5')).toMatchObject({ known_class: '5', width: 28 });
    expect(await index.document('image6')).toMatchObject({ camera: 'damaged' });
    expect(await indexNames(index)).toEqual([`${alias(index)}-000001`]);
  });

  test('a document that is newer than the row read stays', async () => {
    await using index = await testIndex();
    await insertImage(index.pool, 'mnist', { id: 'a' });
    await index.rebuild();
    await index.client.index({
      index: alias(index),
      id: 'mnist/a',
      version: 10 ** 9,
      version_type: 'external',
      document: { id: 'a', revision: 10 ** 9 },
    });
    await index.reput('true');
    expect(await index.document('a')).toEqual({ id: 'a', revision: 10 ** 9 });
  });

  test.each(['no_such_column = 1', 'true; delete from mnist', 'known_label = ', 'prediction / 0 = 1'])(
    'a condition that does not work is the user’s error: %s',
    async (where) => {
      await using index = await testIndex();
      await insertImage(index.pool, 'mnist', { id: 'a' });
      await index.rebuild();
      await expect(index.reput(where)).rejects.toMatchObject({ code: 'USAGE' });
      expect((await index.pool.query('select from mnist')).rowCount).toBe(1);
    },
  );

  test('a condition that would write is refused', async () => {
    await using index = await testIndex();
    await insertImage(index.pool, 'mnist', { id: 'a' });
    await index.rebuild();
    await expect(index.reput("nextval('imagehub.revision') > 0")).rejects.toMatchObject({ code: 'USAGE' });
  });

  test('without an index there is nothing to put into', async () => {
    await using index = await testIndex();
    await expect(index.reput('true')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      hint: expect.stringMatching(/imagehub index rebuild mnist/),
    });
  });
});
