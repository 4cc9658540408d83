import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { transaction } from '../../sql/database.ts';
import { digitsDataset, insertImage } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

interface Labels {
  known_label: number | null;
  labelled_by: string | null;
  labelled_at: Date | null;
  revision: number;
}

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const labels = async (id: string) =>
  (
    await db.pool.query<Labels>(
      'select known_label, labelled_by, labelled_at, revision from mnist where id = $1',
      [id],
    )
  ).rows[0]!;
const changes = async (id: string) =>
  (
    await db.pool.query(
      'select old_label, new_label, changed_by from imagehub.label_changes where dataset = $1 and id = $2 order by change_no',
      ['mnist', id],
    )
  ).rows;
const user = async () => (await db.pool.query<{ user: string }>('select session_user as user')).rows[0]!.user;
const asIngest = (sql: string) =>
  transaction(db.pool, (client) => client.query(`set local imagehub.writer = 'ingest'; ${sql}`));

/** An image that the pipeline stored with the producer's label. */
const ingested = (id: string, label: number | null) =>
  asIngest(
    `insert into mnist (id, image_base64, image_pgm, known_label) values ('${id}', '', '', ${label ?? 'null'})`,
  );

describe('relabelling in plain SQL', () => {
  test('says who did it and when, keeps the history and raises the revision', async () => {
    await ingested('a', 7);
    const before = await labels('a');
    expect(before).toMatchObject({ known_label: 7, labelled_by: null, labelled_at: null });
    await db.pool.query("update mnist set known_label = 3 where id = 'a'");
    const after = await labels('a');
    expect(after).toMatchObject({ known_label: 3, labelled_by: await user() });
    expect(Math.abs(Date.now() - after.labelled_at!.getTime())).toBeLessThan(60_000);
    expect(after.revision).toBeGreaterThan(before.revision);
    expect(await changes('a')).toEqual([{ old_label: 7, new_label: 3, changed_by: await user() }]);
  });

  test('works through the parent table, and names the user that the application names', async () => {
    await ingested('parent', 7);
    await transaction(db.pool, (client) =>
      client.query(
        "set local imagehub.acting_user = 'ada'; update images set known_label = 1 where dataset = 'mnist' and id = 'parent'",
      ),
    );
    expect(await labels('parent')).toMatchObject({ known_label: 1, labelled_by: 'ada' });
    expect(await changes('parent')).toEqual([{ old_label: 7, new_label: 1, changed_by: 'ada' }]);
  });

  test('counts clearing a label as a decision too', async () => {
    await ingested('cleared', 7);
    await db.pool.query("update mnist set known_label = null where id = 'cleared'");
    expect(await labels('cleared')).toMatchObject({ known_label: null, labelled_by: await user() });
    expect(await changes('cleared')).toEqual([{ old_label: 7, new_label: null, changed_by: await user() }]);
  });

  test('leaves labelled_by alone when something else, or nothing, changes', async () => {
    await ingested('other', 7);
    await db.pool.query("update mnist set known_label = 7, prediction = 2 where id = 'other'");
    expect(await labels('other')).toMatchObject({ known_label: 7, labelled_by: null });
    expect(await changes('other')).toEqual([]);
  });

  test.each([10, -1])('refuses class %i, which the dataset does not have', async (label) => {
    await ingested(`refused ${label}`, 7);
    await expect(
      db.pool.query('update mnist set known_label = $1 where id = $2', [label, `refused ${label}`]),
    ).rejects.toMatchObject({ code: '23503', message: `dataset mnist has no class ${label}` });
    await expect(
      insertImage(db.pool, 'mnist', { id: `inserted ${label}`, known_label: label }),
    ).rejects.toMatchObject({ code: '23503' });
    expect(await labels(`refused ${label}`)).toMatchObject({ known_label: 7, labelled_by: null });
  });

  test('is not what the ingest does: its labels are the producer’s', async () => {
    await ingested('by message', 7);
    const before = await labels('by message');
    await asIngest("update mnist set known_label = 4 where id = 'by message'");
    const after = await labels('by message');
    expect(after).toMatchObject({ known_label: 4, labelled_by: null, labelled_at: null });
    expect(after.revision).toBeGreaterThan(before.revision);
    expect(await changes('by message')).toEqual([]);
  });

  test('does not outlive the ingest’s transaction: the next one on the connection is a person’s again', async () => {
    await ingested('mode', 7);
    const client = await db.pool.connect();
    try {
      await client.query("begin; set local imagehub.writer = 'ingest'; commit");
      await client.query("update mnist set known_label = 5 where id = 'mode'");
    } finally {
      client.release();
    }
    expect(await labels('mode')).toMatchObject({ known_label: 5, labelled_by: await user() });
  });

  test('also counts for images that a person inserts with a label', async () => {
    await insertImage(db.pool, 'mnist', { id: 'by hand', known_label: 2 });
    expect(await labels('by hand')).toMatchObject({ known_label: 2, labelled_by: await user() });
  });
});

describe('the image table refuses', () => {
  test('to change an id or a dataset', async () => {
    await ingested('fixed', 1);
    await expect(db.pool.query("update mnist set id = 'moved' where id = 'fixed'")).rejects.toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('delete the old row'),
    });
    await digitsDataset(db.pool, 'elsewhere');
    await expect(
      db.pool.query("update images set dataset = 'elsewhere' where dataset = 'mnist' and id = 'fixed'"),
    ).rejects.toMatchObject({ code: '0A000' });
    expect(await labels('fixed')).toMatchObject({ known_label: 1 });
  });

  test.each(['mnist', 'images'])('TRUNCATE of %s', async (table) => {
    await ingested(`kept ${table}`, 1);
    await expect(db.pool.query(`truncate ${table}`)).rejects.toMatchObject({ code: '0A000' });
    expect(await labels(`kept ${table}`)).toBeDefined();
  });

  test.each(['repeatable read', 'serializable'])(
    'inserts in %s, whose snapshot misses deletions',
    async (level) => {
      await expect(
        transaction(db.pool, async (client) => {
          await client.query(`set transaction isolation level ${level}`);
          await insertImage(client, 'mnist', { id: level });
        }),
      ).rejects.toMatchObject({ code: '0A000', hint: 'begin isolation level read committed' });
    },
  );

  test.each([
    ['', 'empty'],
    ['é'.repeat(201), '402 bytes long'],
  ])('an id that is %j', async (id) => {
    await expect(insertImage(db.pool, 'mnist', { id })).rejects.toMatchObject({ code: '23514' });
  });
});

describe('images inserted by hand', () => {
  test('are counted per statement, without a lock that the ingest would wait for', async () => {
    const count = async () =>
      (
        await db.pool.query<{ images: number }>(
          "select coalesce(sum(images), 0)::int as images from imagehub.inserts_by_hand where dataset = 'mnist'",
        )
      ).rows[0]!.images;
    const before = await count();
    const person = await db.pool.connect();
    try {
      await person.query('begin');
      await person.query(
        "insert into mnist (id, image_base64, image_pgm) select 'bulk ' || n, '', '' from generate_series(1, 5) n",
      );
      // The ingest shares the dataset's row for the time of its transaction; nowait would throw.
      await db.pool.query("select from imagehub.datasets where name = 'mnist' for share nowait");
      await person.query('commit');
    } finally {
      person.release();
    }
    await asIngest("insert into mnist (id, image_base64, image_pgm) values ('not by hand', '', '')");
    expect(await count()).toBe(before + 5);
  });
});
