import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { queryPostgres } from '../../query/postgres.ts';
import type { Cell, QueryOptions, ResultColumn } from '../../query/result.ts';
import { digitsDataset, insertOutcomes } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertOutcomes(db.pool, 'mnist', [
    [7, 7, 30],
    [7, 1, 20],
    [1, 1, 10],
    [null, -1, 5],
  ]);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

/** All rows, and how many came in each portion. */
async function ask(statement: string, options: QueryOptions = {}) {
  return queryPostgres(db.pool, statement, options, async ({ columns, batches }) => {
    const rows: Cell[][] = [];
    const portions: number[] = [];
    for await (const batch of batches) {
      rows.push(...batch);
      portions.push(batch.length);
    }
    return { columns, rows, portions } satisfies {
      columns: ResultColumn[];
      rows: Cell[][];
      portions: number[];
    };
  });
}

test('the classic queries give the predictions by class, and those that are right', async () => {
  const all =
    'select count(prediction), prediction as all_prediction from mnist group by prediction order by prediction';
  expect(await ask(all)).toMatchObject({
    columns: [
      { name: 'count', numeric: true },
      { name: 'all_prediction', numeric: true },
    ],
    rows: [
      [5, -1],
      [30, 1],
      [30, 7],
    ],
  });
  const correct =
    'select count(prediction), prediction as correct_prediction from mnist where prediction = known_label group by prediction order by prediction;';
  expect((await ask(correct)).rows).toEqual([
    [10, 1],
    [30, 7],
  ]);
});

test('values keep what they are: exact integers, decimals and times as text in UTC, bytes, arrays, documents', async () => {
  const { rows } =
    await ask(`select 9007199254740993::int8, 0.10::numeric, 'NaN'::float8, 1.5::real, true, null,
    '\\x00ff'::bytea, array['a', null], '{"a": [1]}'::jsonb, timestamptz '2026-01-02 03:04:05.123456+01', date '2026-01-02', 'ü'`);
  expect(rows).toEqual([
    [
      9007199254740993n,
      '0.10',
      NaN,
      1.5,
      true,
      null,
      Buffer.from([0, 255]),
      ['a', null],
      { a: [1] },
      '2026-01-02 02:04:05.123456+00',
      '2026-01-02',
      'ü',
    ],
  ]);
});

test('rows come in portions, and leaving early ends the query', async () => {
  const { rows, portions } = await ask('select n from generate_series(1, 2500) n');
  expect(rows.at(-1)).toEqual([2500]);
  expect(portions).toEqual([1000, 1000, 500]);
  const first = await queryPostgres(
    db.pool,
    'select generate_series(1, 1000000000)',
    {},
    async ({ batches }) => {
      for await (const batch of batches) return batch[0];
      return null;
    },
  );
  expect(first).toEqual([1]);
  // The connection is as it was: nothing is left of transaction and settings.
  const { rows: after } = await db.pool.query('select now() = statement_timestamp() as fresh');
  expect(after).toEqual([{ fresh: true }]);
});

test.each([
  [
    'select id,\n  nope from mnist',
    'USAGE',
    'column "nope" does not exist\nLINE 2:   nope from mnist\n          ^',
  ],
  ['selec 1', 'USAGE', 'syntax error at or near "selec"\nLINE 1: selec 1\n        ^'],
  ['select 1; drop table mnist', 'USAGE', 'cannot insert multiple commands'],
  ['update mnist set known_label = 3', 'USAGE', 'it does not take update'],
  ['with gone as (delete from mnist returning id) select * from gone', 'USAGE', 'data-modifying statements'],
  [`select nextval('imagehub.revision')`, 'QUERY_FAILED', 'imagehub sql only reads'],
  ['select 1 / (n - 1500) from generate_series(1, 2000) n', 'QUERY_FAILED', 'division by zero'],
  ['select 1 as a into temp b', 'USAGE', 'INTO'],
])('%j fails: %s', async (statement, code, message) => {
  await expect(ask(statement)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

test('an unknown table is answered with those that there are', async () => {
  await expect(ask('select * from nope')).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('LINE 1: select * from nope\n                      ^'),
    hint: expect.stringMatching(/^There are: images, mnist, .*class_counts/),
  });
});

test('a query ends when its time is over, all portions together, and when it is interrupted', async () => {
  await expect(ask('select pg_sleep(60)', { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'QUERY_FAILED',
    hint: expect.stringContaining('--timeout'),
  });
  // A tenth of a second for each portion, 10 s for all.
  const slow = 'select case when n % 100 = 0 then pg_sleep(0.01) end from generate_series(1, 100000) n';
  await expect(ask(slow, { timeoutMs: 500 })).rejects.toMatchObject({ code: 'QUERY_FAILED' });
  const controller = new AbortController();
  const asked = ask('select pg_sleep(60)', { signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await expect(asked).rejects.toMatchObject({ code: 'INTERRUPTED' });
  await expect(ask('select 1', { signal: controller.signal })).rejects.toMatchObject({ code: 'INTERRUPTED' });
});
