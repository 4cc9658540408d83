import { readdir, readFile } from 'node:fs/promises';
import type { Pool } from 'pg';
import { transaction } from './database.ts';

const FOLDER = new URL('./migrations/', import.meta.url);

/** Any number, the same in every imagehub: the key of the advisory lock that lets one process migrate at a time. */
const MIGRATION_LOCK = 0x1_4a6e;

/**
 * Applies the numbered `.sql` files of `sql/migrations` that the database has not seen, each in a transaction of
 * its own. Safe from several processes at once: they take turns on an advisory lock.
 * @returns the names of the files applied now.
 */
export async function migrate(pool: Pool): Promise<string[]> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).sort();
  const applied: string[] = [];
  for (const file of files) {
    const done = await transaction(pool, async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
      await client.query(
        'create schema if not exists imagehub; create table if not exists imagehub.migrations (name text primary key, applied_at timestamptz not null default now())',
      );
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
  return applied;
}
