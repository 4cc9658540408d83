import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { type ClientBase, errorCode } from './database.ts';
import { HubError } from '../errors.ts';

const FOLDER = new URL('./views/', import.meta.url);

/** `create or replace view` cannot rename, reorder or retype columns. */
const COLUMNS_CHANGED = '42P16';
const OTHERS_DEPEND_ON_IT = '2BP01';

/**
 * Makes the public views of `sql/views` as this version has them, if the database has others. A view is named like
 * its file and uses no other view. Replaced in place where that works, so that grants on a view and views that others
 * built on it stay; with other columns it is dropped and made anew.
 * @param migrations the migrations there are: after a new one the views are made again, as it may have dropped them.
 * @param client inside the migration's transaction and lock.
 * @returns whether they were made now.
 */
export async function replaceViews(client: ClientBase, migrations: string[]): Promise<boolean> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).sort();
  const texts = await Promise.all(files.map((file) => readFile(new URL(file, FOLDER), 'utf8')));
  const version = `views ${createHash('sha256')
    .update(JSON.stringify([migrations, files, texts]))
    .digest('hex')}`;
  const { rowCount } = await client.query(
    'insert into imagehub.migrations (name) values ($1) on conflict do nothing',
    [version],
  );
  if (rowCount === 0) return false;
  await client.query("delete from imagehub.migrations where name like 'views %' and name <> $1", [version]);
  for (const [index, file] of files.entries()) {
    await replaceView(client, file.replace(/\.sql$/, ''), texts[index]!);
  }
  return true;
}

async function replaceView(client: ClientBase, name: string, text: string): Promise<void> {
  await client.query('savepoint before_view');
  try {
    await client.query(text);
  } catch (error) {
    if (errorCode(error) !== COLUMNS_CHANGED) throw error;
    await client.query('rollback to before_view');
    await client.query(`drop view public."${name}"`).catch((cause: unknown) => {
      if (errorCode(cause) !== OTHERS_DEPEND_ON_IT) throw cause;
      throw new HubError('CONFLICT', `View ${name} has new columns, but other objects depend on it.`, {
        hint: `Drop them, run imagehub migrate, and make them again (psql: drop view public.${name} names them).`,
        cause,
      });
    });
    await client.query(text);
  }
  await client.query('release before_view');
}
