import { readdir, readFile } from 'node:fs/promises';
import type { Pool } from 'pg';
import { type ClientBase, transaction } from './database.ts';
import { replaceViews } from './views.ts';

const FOLDER = new URL('./migrations/', import.meta.url);

/** Any number, the same in every imagehub: the key of the advisory lock that lets one process migrate at a time. */
export const MIGRATION_LOCK = 0x1_4a6e;

/**
 * Applies the numbered `.sql` files of `sql/migrations` that the database has not seen, each in a transaction of
 * its own, then brings the views of `sql/views` to this version. Safe from several processes at once: they take
 * turns on an advisory lock.
 * @returns the names of the files applied now, and `views` if those were made or replaced.
 */
export async function migrate(pool: Pool): Promise<string[]> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).sort();
  const applied: string[] = [];
  for (const file of files) {
    const done = await transaction(pool, async (client) => {
      await takeTurn(client);
      const { rowCount } = await client.query(
        'insert into imagehub.migrations (name) values ($1) on conflict do nothing',
        [file],
      );
      if (rowCount === 0) return false;
      await client.query(await readFile(new URL(file, FOLDER), 'utf8'));
      return true;
    });
    if (done) applied.push(file);
  }
  const viewsReplaced = await transaction(pool, async (client) => {
    await takeTurn(client);
    return await replaceViews(client, files);
  });
  return viewsReplaced ? [...applied, 'views'] : applied;
}

async function takeTurn(client: ClientBase): Promise<void> {
  await client.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
  await client.query(
    'create schema if not exists imagehub; create table if not exists imagehub.migrations (name text primary key, applied_at timestamptz not null default now())',
  );
}
