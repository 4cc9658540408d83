import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { HubError } from '../../errors.ts';
import { explainMixed, kuduTablesIn } from '../../query/kudu-names.ts';
import { leftOutNote, wordsIn } from '../../query/which-store.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { askPostgres } from './support/tables.ts';

const IN_KUDU = ['far', 'farther'];

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

/** Which datasets in Kudu answer; null: Postgres does. */
async function tablesIn(statement: string): Promise<string[] | null> {
  const refusal = await askPostgres(db.pool, statement).then(
    () => null,
    (error: unknown) => error,
  );
  const words = wordsIn(statement, IN_KUDU);
  return refusal && words.length > 0 ? await kuduTablesIn(statement, refusal, words) : null;
}

test.each<[string, string[] | null]>([
  ['select * from far', ['far']],
  ['select ID from FAR where id in (select id from farther)', ['far', 'farther']],
  ['with picked as (select * from far) select count(*) from picked', ['far']],
  ['select * from mnist join far using (id)', ['far']],
  // Postgres calls these a syntax error.
  ['from far', ['far']],
  ['select * exclude (image_base64) from far', ['far']],
  // What DuckDB cannot parse is told by it, where a table is missing.
  ['select * from far for update', ['far']],
  // Tables of other names, whatever else is called so.
  ['with far as (select 1 as one) select one from far', null],
  ["select 'far' as text, nope from mnist", []],
  ['select far from mnist', []],
  ['select * from farthest', null],
  ['select * from mnist where far far', []],
])('%s is for %j', async (statement, expected) => {
  expect(await tablesIn(statement)).toEqual(expected);
});

test('that a table is in the other store is told only of tables that are there', async () => {
  const thrown = (text: string) => new HubError('NOT_FOUND', 'Kudu has no table', { cause: new Error(text) });
  const missing = (name: string, more = '') =>
    thrown(`Catalog Error: Table with name ${name} does not exist${more}!`);
  expect(await explainMixed(db.pool, missing('MNIST'), ['far'])).toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/far are in Kudu, and MNIST is in Postgres/),
    hint: expect.stringContaining('imagehub kudu-copy create mnist'),
  });
  const classes = missing('classes', ' because schema "imagehub" does not exist');
  expect(await explainMixed(db.pool, classes, ['far'])).toMatchObject({
    message: expect.stringContaining('imagehub.classes is in Postgres'),
    hint: expect.stringContaining('two queries'),
  });
  for (const other of [missing('nowhere'), thrown('something else'), new Error('no')])
    expect(await explainMixed(db.pool, other, ['far'])).toBe(other);
});

test('queries on all datasets say which are not in them', async () => {
  const note = (statement: string) => leftOutNote(db.pool, statement, IN_KUDU);
  expect(await note('select count(*) from images')).toMatch(/not in images: far, farther\./);
  expect(await note('select * from class_counts, public.confusion_matrix')).toMatch(
    /not in class_counts, confusion_matrix: far/,
  );
  expect(await note('select * from mnist')).toBeNull();
  expect(await leftOutNote(db.pool, 'select count(*) from images', [])).toBeNull();
});
