import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type PoolClient, transaction } from '../../sql/database.ts';
import { digitsDataset, insertImage, messageAt } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { processId, untilWaiting, withSessions } from '../support/sessions.ts';

interface Deletion {
  deletions: number;
  deleted_by: string;
  restored_at: Date | null;
  revision: number;
  source_partition: number | null;
  source_offset: number | null;
}

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const deletion = async (id: string) =>
  (
    await db.pool.query<Deletion>(
      `select deletions, deleted_by, restored_at, revision, source_partition, source_offset
       from imagehub.deleted_images where dataset = 'mnist' and id = $1`,
      [id],
    )
  ).rows[0];
const revision = async (id: string) =>
  (await db.pool.query<{ revision: number }>('select revision from mnist where id = $1', [id])).rows[0]
    ?.revision;
const asIngest = (work: (client: PoolClient) => Promise<unknown>) =>
  transaction(db.pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await work(client);
  });
const beginIngest = (session: PoolClient) => session.query("begin; set local imagehub.writer = 'ingest'");

describe('a deleted image', () => {
  test('is remembered with its message’s place, under a higher revision, and by whom', async () => {
    await asIngest((client) => insertImage(client, 'mnist', { id: 'a', ...messageAt(2, 40, 0) }));
    const stored = await revision('a');
    await db.pool.query("delete from mnist where id = 'a'");
    const { rows } = await db.pool.query<{ user: string }>('select session_user as user');
    const remembered = (await deletion('a'))!;
    expect(remembered).toMatchObject({
      deletions: 1,
      deleted_by: rows[0]!.user,
      restored_at: null,
      source_partition: 2,
      source_offset: 40,
    });
    expect(remembered.revision).toBeGreaterThan(stored!);
  });

  test('that comes back is marked restored, has a higher revision, and is counted when deleted again', async () => {
    await insertImage(db.pool, 'mnist', { id: 'b' });
    await db.pool.query("delete from mnist where id = 'b'");
    const first = (await deletion('b'))!;
    await insertImage(db.pool, 'mnist', { id: 'b' });
    expect((await deletion('b'))!.restored_at).toBeInstanceOf(Date);
    const restored = (await revision('b'))!;
    expect(restored).toBeGreaterThan(first.revision);
    await db.pool.query("delete from mnist where id = 'b'");
    const second = (await deletion('b'))!;
    expect(second).toMatchObject({ deletions: 2, restored_at: null });
    expect(second.revision).toBeGreaterThan(restored);
  });

  test('inserted by hand leaves the place of the message that was deleted before it', async () => {
    await asIngest((client) => insertImage(client, 'mnist', { id: 'c', ...messageAt(1, 9, 0) }));
    await db.pool.query("delete from mnist where id = 'c'");
    await insertImage(db.pool, 'mnist', { id: 'c' });
    await db.pool.query("delete from mnist where id = 'c'");
    expect(await deletion('c')).toMatchObject({ deletions: 2, source_partition: 1, source_offset: 9 });
  });

  test('of a newer message replaces the place that is remembered', async () => {
    await asIngest((client) => insertImage(client, 'mnist', { id: 'd', ...messageAt(1, 9, 0) }));
    await db.pool.query("delete from mnist where id = 'd'");
    await asIngest((client) => insertImage(client, 'mnist', { id: 'd', ...messageAt(1, 12, 0) }));
    await db.pool.query("delete from mnist where id = 'd'");
    expect(await deletion('d')).toMatchObject({ deletions: 2, source_offset: 12 });
  });
});

describe('a delete that races an insert', () => {
  // The insert has drawn its revision and waits; meanwhile the delete draws a higher one and commits. With its own
  // revision the new row would stay below the deletion, and the index would reject it for ever.
  test('leaves the row a revision above the deletion’s', async () => {
    await insertImage(db.pool, 'mnist', { id: 'race' });
    await withSessions(db.pool, 2, async (inserting, deleting) => {
      const pid = await processId(inserting);
      await deleting.query('begin');
      await deleting.query("delete from mnist where id = 'race'");
      // The insert evaluates its defaults, then waits for the key.
      const inserted = insertImage(inserting, 'mnist', { id: 'race', known_label: 1 });
      await untilWaiting(db.pool, pid);
      const { rows } = await db.pool.query<{ drawn: number }>(
        'select last_value as drawn from imagehub.revision',
      );
      await insertImage(deleting, 'mnist', { id: 'race' });
      await deleting.query("delete from mnist where id = 'race'");
      await deleting.query('commit');
      await inserted;
      const deleted = (await deletion('race'))!;
      expect(deleted.revision).toBeGreaterThan(rows[0]!.drawn);
      expect(await revision('race')).toBeGreaterThan(deleted.revision);
      expect(deleted.restored_at).toBeInstanceOf(Date);
    });
  });

  /** A tombstone for a key that is not there: a stand-in row takes hold of the key and goes again. */
  const tombstone = async (session: PoolClient, id: string, at: Record<string, unknown>) => {
    await insertImage(session, 'mnist', { id, ...at });
    await session.query('delete from mnist where id = $1', [id]);
  };

  test('and is the newer message: the row goes, and the deletion keeps its place', async () => {
    await withSessions(db.pool, 2, async (deleting, inserting) => {
      const pid = await processId(inserting);
      await beginIngest(deleting);
      await tombstone(deleting, 'older', messageAt(1, 3, 9));
      await beginIngest(inserting);
      const inserted = insertImage(inserting, 'mnist', { id: 'older', ...messageAt(0, 7, 5) });
      await untilWaiting(db.pool, pid);
      await deleting.query('commit');
      await inserted;
      await inserting.query('commit');
    });
    expect(await revision('older')).toBeUndefined();
    expect(await deletion('older')).toMatchObject({
      restored_at: null,
      source_partition: 1,
      source_offset: 3,
    });
  });

  test('and is the older message: the row stays, restored', async () => {
    await withSessions(db.pool, 2, async (deleting, inserting) => {
      const pid = await processId(inserting);
      await beginIngest(deleting);
      await tombstone(deleting, 'newer', messageAt(1, 3, 5));
      await beginIngest(inserting);
      const inserted = insertImage(inserting, 'mnist', { id: 'newer', ...messageAt(0, 7, 9) });
      await untilWaiting(db.pool, pid);
      await deleting.query('commit');
      await inserted;
      await inserting.query('commit');
    });
    const deleted = (await deletion('newer'))!;
    expect(deleted.restored_at).toBeInstanceOf(Date);
    expect(await revision('newer')).toBeGreaterThan(deleted.revision);
  });

  test('and is rolled back: the insert fails as if nothing had been', async () => {
    await insertImage(db.pool, 'mnist', { id: 'undone' });
    await withSessions(db.pool, 2, async (deleting, inserting) => {
      const pid = await processId(inserting);
      await deleting.query('begin');
      await deleting.query("delete from mnist where id = 'undone'");
      const inserted = expect(insertImage(inserting, 'mnist', { id: 'undone' })).rejects.toMatchObject({
        code: '23505',
      });
      await untilWaiting(db.pool, pid);
      await deleting.query('rollback');
      await inserted;
    });
    expect(await deletion('undone')).toBeUndefined();
  });
});

test('an insert by hand in an open transaction neither stops nor deadlocks the ingest', async () => {
  await withSessions(db.pool, 2, async (ingest, person) => {
    const pid = await processId(ingest);
    await beginIngest(ingest);
    await ingest.query("select from imagehub.datasets where name = 'mnist' for share");
    await person.query('begin');
    await insertImage(person, 'mnist', { id: 'shared 1' });
    const merged = ingest.query(
      `insert into mnist (id, image_base64, image_pgm) values ('shared 1', '', '')
       on conflict (dataset, id) do update set prediction = 1`,
    );
    await untilWaiting(db.pool, pid);
    await insertImage(person, 'mnist', { id: 'shared 2' });
    await person.query('commit');
    await merged;
    await ingest.query('commit');
  });
  expect(await revision('shared 2')).toBeDefined();
});
