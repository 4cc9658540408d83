import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type PoolClient, transaction } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { imageLabels, labelChanges, listLabelOperations } from '../../sql/label-history.ts';
import { relabelImages } from '../../sql/relabel.ts';
import { BEGIN_INGEST } from '../../sql/write-batch.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

let db: TestDatabase;
let mnist: Dataset;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
  mnist = await getDataset(db.pool, 'mnist');
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const asIngest = async (sql: string) => {
  await db.pool.query(`${BEGIN_INGEST}; ${sql}; commit`);
};

/** `count` images a0, a1, … that the producer labelled 7. */
async function produced(count: number): Promise<string[]> {
  await asIngest(
    `insert into mnist (id, image_base64, image_pgm, known_label) select 'a' || n, '', '', 7 from generate_series(0, ${count - 1}) n`,
  );
  return Array.from({ length: count }, (_, n) => `a${n}`);
}

beforeEach(async () => {
  await db.pool.query('delete from mnist');
  await db.pool.query('delete from imagehub.label_changes');
  await db.pool.query('delete from imagehub.label_operations');
  await db.pool.query('delete from imagehub.deleted_images');
});

const say = (ids: string[], label: number | null, by: string) =>
  relabelImages(db.pool, mnist, { ids, labels: ids.map(() => label) }, { by, detail: `to ${label}` });

/** `class by person` of images; `7` alone is the producer's. */
const labels = async (ids: string[]) =>
  (await imageLabels(db.pool, 'mnist', ids)).map(({ class: name, by }) => (by ? `${name} by ${by}` : name));

describe('relabelling images', () => {
  test('and the ingest meet in the order of ids; a person’s transaction in another order is got over', async () => {
    await produced(2);
    const person = await db.pool.connect();
    try {
      await person.query('begin');
      await person.query("set local imagehub.acting_user = 'bob'");
      await person.query("update mnist set known_label = 1 where id = 'a1'");
      const ours = say(['a0', 'a1'], 3, 'ada');
      await waitingForLock(person);
      // Now each waits for the other; Postgres ends one of the two after a second.
      const theirs = person.query("update mnist set known_label = 1 where id = 'a0'").then(
        () => person.query('commit'),
        () => person.query('rollback'),
      );
      expect(await ours).toMatchObject({ images: 2, changed: 2 });
      await theirs;
    } finally {
      person.release();
    }
    expect(await labels(['a0', 'a1'])).toEqual(['3 by ada', '3 by ada']);
  });
});

/** Until somebody waits for a lock that this session holds. */
async function waitingForLock(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  for (;;) {
    const { rows: waiting } = await db.pool.query(
      'select from pg_stat_activity where $1 = any(pg_blocking_pids(pid))',
      [rows[0]!.pid],
    );
    if (waiting.length > 0) return;
  }
}

describe('undoing', () => {
  test('knows transactions of plain SQL as operations, each with all its changes', async () => {
    const ids = await produced(3);
    await transaction(db.pool, async (client) => {
      await client.query("set local imagehub.acting_user = 'cleo'");
      await client.query("update mnist set known_label = 1 where id in ('a0', 'a1')");
      await client.query("update mnist set known_label = 2 where id = 'a0'");
    });
    await db.pool.query("update mnist set known_label = 4 where id = 'a2'");
    const operations = await listLabelOperations(db.pool, 'mnist', { limit: 5 });
    expect(operations).toMatchObject([
      { action: 'sql', images: 1 },
      { action: 'sql', by: 'cleo', images: 2 },
    ]);
    // In SQL, as anybody may who may change the table.
    const { rows } = await db.pool.query(
      "select restored, changed_since, deleted from imagehub.undo_labels('mnist', $1)",
      [operations[1]!.operation],
    );
    expect(rows).toEqual([{ restored: 2, changed_since: 0, deleted: 0 }]);
    expect(await labels(ids)).toEqual(['7', '7', expect.stringContaining('4 by ')]);
    // The settings of an undoing do not outlive it.
    await transaction(db.pool, async (client) => {
      await client.query('select imagehub.undo_labels($1, $2)', ['mnist', operations[0]!.operation]);
      await client.query("update mnist set known_label = 9 where id = 'a2'");
    });
    expect(await labels(['a2'])).toEqual([expect.stringContaining('9 by ')]);
  });
});

test('the ingest leaves people’s labels and the history alone', async () => {
  const ids = await produced(1);
  await say(ids, 3, 'ada');
  await asIngest("update mnist set prediction = 4, known_label = known_label where id = 'a0'");
  expect(await labels(ids)).toEqual(['3 by ada']);
  expect(await labelChanges(db.pool, 'mnist', ids)).toHaveLength(1);
});
