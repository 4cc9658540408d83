import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type PoolClient, transaction } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { imageLabels, labelChanges, listLabelOperations, newestUndoable } from '../../sql/label-history.ts';
import { relabelImages, relabelSelection, undoRelabel } from '../../sql/relabel.ts';
import { selectionSql } from '../../sql/selection.ts';
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
const undo = (operation: number, by = 'eve') =>
  undoRelabel(db.pool, 'mnist', operation, { by, detail: `undo ${operation}` });

/** `class by person` of images; `7` alone is the producer's. */
const labels = async (ids: string[]) =>
  (await imageLabels(db.pool, 'mnist', ids)).map(({ class: name, by }) => (by ? `${name} by ${by}` : name));

const readSelection = (where: string) =>
  transaction(db.pool, async (client) => {
    await client.query('set transaction read only');
    return relabelSelection(client, selectionSql('mnist', { where }));
  });

describe('relabelling images', () => {
  test('is one operation with its images, its person and its time', async () => {
    const ids = await produced(3);
    const result = await say(['a2', 'a0', 'a2'], 3, 'ada');
    expect(result).toMatchObject({ images: 2, changed: 2, confirmed: 0, unchanged: 0, missing: [] });
    expect(await labels(ids)).toEqual(['3 by ada', '7', '3 by ada']);
    const [operation] = await listLabelOperations(db.pool, 'mnist', { limit: 10 });
    expect(operation).toMatchObject({
      operation: result.operation,
      action: 'relabel',
      by: 'ada',
      detail: 'to 3',
      images: 2,
      undoneBy: null,
      classes: [{ name: '3', images: 2 }],
    });
    expect(await labelChanges(db.pool, 'mnist', ['a2'])).toEqual([
      expect.objectContaining({ from: '7', before: null, to: '3', by: 'ada', operation: result.operation }),
    ]);
  });

  test('to what the producer said confirms it: from then on no message changes it', async () => {
    const ids = await produced(1);
    expect(await say(ids, 7, 'ada')).toMatchObject({ changed: 0, confirmed: 1 });
    expect(await labels(ids)).toEqual(['7 by ada']);
    const again = await say(ids, 7, 'bob');
    expect(again).toMatchObject({ changed: 0, confirmed: 0, unchanged: 1, operation: null });
    expect(await labels(ids)).toEqual(['7 by ada']);
    // What changed nothing is no operation.
    expect(await listLabelOperations(db.pool, 'mnist', { limit: 10 })).toHaveLength(1);
  });

  test('clears labels, which is a decision too', async () => {
    const ids = await produced(1);
    await say(ids, null, 'ada');
    expect(await labels(ids)).toEqual(['null by ada']);
  });

  test('is all or nothing: whatever the caller refuses, or the database, nothing has happened', async () => {
    const ids = await produced(2);
    const refused = relabelImages(
      db.pool,
      mnist,
      { ids: [...ids, 'nowhere'], labels: [1, 2, 3] },
      { by: 'ada', detail: '' },
      ({ missing }) => {
        expect(missing).toEqual(['nowhere']);
        throw new Error('not these');
      },
    );
    await expect(refused).rejects.toThrow('not these');
    await expect(
      relabelImages(db.pool, mnist, { ids, labels: [1, 10] }, { by: 'ada', detail: '' }),
    ).rejects.toMatchObject({ code: '23503' });
    const stop = AbortSignal.abort();
    await expect(
      relabelImages(db.pool, mnist, { ids, labels: [1, 1] }, { by: 'ada', detail: '', signal: stop }),
    ).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await labels(ids)).toEqual(['7', '7']);
    expect(await listLabelOperations(db.pool, 'mnist', { limit: 10 })).toEqual([]);
  });

  test('leaves alone what changed between the selection and the writing', async () => {
    await produced(4);
    const { ids, states } = await readSelection("known_label = 7 and id <> 'a3'");
    expect(ids).toEqual(['a0', 'a1', 'a2']);
    await say(['a0'], 5, 'bob');
    await asIngest("update mnist set sha256 = '\\x01', image_base64 = 'AAAA' where id = 'a1'");
    // A prediction is no reason: the label and the picture are what a person looked at.
    await asIngest("update mnist set prediction = 4 where id = 'a2'");
    const result = await relabelImages(
      db.pool,
      mnist,
      { ids, states, labels: ids.map(() => 3) },
      { by: 'ada', detail: '' },
    );
    expect(result).toMatchObject({ changed: 1, changedMeanwhile: 2, missing: [] });
    expect(await labels(['a0', 'a1', 'a2', 'a3'])).toEqual(['5 by bob', '7', '3 by ada', '7']);
  });

  test('of more images than one statement takes goes chunk by chunk, with progress, in one operation', async () => {
    const ids = await produced(12_000);
    const seen: number[] = [];
    const result = await relabelImages(
      db.pool,
      mnist,
      { ids, labels: ids.map((_, n) => n % 10) },
      { by: 'ada', detail: '', onProgress: (done) => seen.push(done) },
    );
    expect(seen).toEqual([5000, 10_000, 12_000]);
    expect(result).toMatchObject({ images: 12_000, changed: 10_800, confirmed: 1200 });
    expect(await undo(result.operation!)).toMatchObject({ restored: 12_000, changedSince: 0, deleted: 0 });
    const { rows } = await db.pool.query(
      'select count(*) as images, count(labelled_by) as people from mnist where known_label = 7',
    );
    expect(rows).toEqual([{ images: 12_000, people: 0 }]);
  });

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
  test('gives the label back, and to the producer what was the producer’s', async () => {
    const ids = await produced(2);
    const first = await say(ids, 3, 'ada');
    const second = await say(['a1'], 5, 'bob');
    expect(await undo(second.operation!)).toMatchObject({ undone: second.operation, restored: 1 });
    expect(await labels(ids)).toEqual(['3 by ada', '3 by ada']);
    // As if the second had never been: the first can be taken back whole.
    expect(await undo(first.operation!)).toMatchObject({ restored: 2, changedSince: 0 });
    expect(await labels(ids)).toEqual(['7', '7']);
    const { rows } = await db.pool.query(
      'select from mnist where labelled_by is null and labelled_at is null',
    );
    expect(rows).toHaveLength(2);
  });

  test('takes a confirmation back too', async () => {
    const ids = await produced(1);
    const { operation } = await say(ids, 7, 'ada');
    expect(await undo(operation!)).toMatchObject({ restored: 1 });
    expect(await labels(ids)).toEqual(['7']);
  });

  test('leaves alone and counts what was relabelled since, also to the same class, and what was deleted', async () => {
    const ids = await produced(5);
    const { operation } = await say(ids, 3, 'ada');
    await say(['a1'], 5, 'bob');
    await say(['a2'], 5, 'bob');
    await say(['a2'], 3, 'bob');
    await db.pool.query("delete from mnist where id in ('a3', 'a4')");
    await asIngest("insert into mnist (id, image_base64, image_pgm, known_label) values ('a4', '', '', 3)");
    expect(await undo(operation!)).toMatchObject({ restored: 1, changedSince: 3, deleted: 1 });
    expect(await labels(ids)).toEqual(['7', '5 by bob', '3 by bob', '3']);
  });

  test('can be undone: what was taken back is in force again', async () => {
    const ids = await produced(1);
    const { operation } = await say(ids, 3, 'ada');
    const undone = await undo(operation!);
    expect(await listLabelOperations(db.pool, 'mnist', { limit: 5 })).toMatchObject([
      { operation: undone.operation, action: 'undo', undoes: operation, by: 'eve' },
      { operation, undoneBy: undone.operation },
    ]);
    expect(await newestUndoable(db.pool, 'mnist')).toBeNull();
    expect(await undo(undone.operation)).toMatchObject({ restored: 1 });
    expect(await labels(ids)).toEqual(['3 by ada']);
  });

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

  test('of an operation that the dataset does not have says so', async () => {
    await digitsDataset(db.pool, 'elsewhere');
    const ids = await produced(1);
    const { operation } = await say(ids, 3, 'ada');
    await expect(undo(999_999)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(
      undoRelabel(db.pool, 'elsewhere', operation!, { by: 'eve', detail: '' }),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await labels(ids)).toEqual(['3 by ada']);
  });
});

test('the ingest leaves people’s labels and the history alone', async () => {
  const ids = await produced(1);
  await say(ids, 3, 'ada');
  await asIngest("update mnist set prediction = 4, known_label = known_label where id = 'a0'");
  expect(await labels(ids)).toEqual(['3 by ada']);
  expect(await labelChanges(db.pool, 'mnist', ids)).toHaveLength(1);
});
