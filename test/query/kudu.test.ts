import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Client, connect } from '../../kudu/index.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from '../support/servers.ts';
import { askKudu, askPostgres, CLASSIC, classicRows, fillKudu, fillPostgres } from './support/tables.ts';

const ROWS = 300;

let db: TestDatabase;
let client: Client;
let name: string;
let labels: string;
beforeAll(async () => {
  [db, client] = await Promise.all([freshDatabase(), connect({ masters: testServers().kudu })]);
  name = uniqueName('mnist');
  labels = uniqueName('labels');
  const rows = classicRows(ROWS);
  await digitsDataset(db.pool, name);
  await fillPostgres(db.pool, name, rows);
  await fillKudu(client, name, CLASSIC, rows);
  const columns = [
    { name: 'label', type: 'INT32', key: true },
    { name: 'word', type: 'STRING' },
  ] as const;
  const words = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];
  await fillKudu(
    client,
    labels,
    [...columns],
    words.map((word, label) => ({ label, word })),
  );
});
afterAll(async () => {
  await client.deleteTable(name);
  await client.deleteTable(labels);
  client.close();
  await db[Symbol.asyncDispose]();
});

const ask = (statement: string) => askKudu(client, statement);

test('the classic queries give the same answers on both stores, and read the columns they need alone', async () => {
  const all = `select count(prediction), prediction as all_prediction from ${name} group by prediction order by prediction`;
  const answer = await ask(all);
  expect(answer.rows).toEqual((await askPostgres(db.pool, all)).rows);
  expect(answer.rows).toHaveLength(10);
  expect(answer.columns.map((column) => column.name)).toEqual(['count(prediction)', 'all_prediction']);
  expect(answer.scans).toEqual([
    { table: name, columns: ['prediction'], where: {}, rows: ROWS, bytes: 4 * ROWS },
  ]);

  const correct = `select count(prediction), prediction as correct_prediction from ${name} where prediction = known_label
    group by prediction order by prediction`;
  const right = await ask(correct);
  expect(right.rows).toEqual((await askPostgres(db.pool, correct)).rows);
  expect(right.scans).toMatchObject([{ columns: ['prediction', 'known_label'], where: {}, rows: ROWS }]);
});

test.each([
  ['prediction = 3', { prediction: { eq: 3 } }],
  ['prediction <> 3', {}],
  ['prediction in (1, 5)', { prediction: { in: [1, 5] } }],
  ['prediction = 1 or prediction = 8', { prediction: { in: [1, 8] } }],
  ['prediction between 2 and 4', { prediction: { gte: 2, lte: 4 } }],
  [
    'prediction > 2 and prediction < 5 and known_label >= 3',
    { prediction: { gt: 2, lt: 5 }, known_label: { gte: 3 } },
  ],
  ['prediction > 2.5', {}],
  ['known_label is null', { known_label: { isNull: true } }],
  ['known_label is not null and prediction <= 1', { known_label: { isNull: false }, prediction: { lte: 1 } }],
  ['known_label = 3 or known_label is null', {}],
  ['prediction = 3 or known_label = 4', {}],
  [`id = '3/0013.png'`, { id: { eq: '3/0013.png' } }],
  [`id like '3/01%'`, { id: { gte: '3/01', lt: '3/02' } }],
  [`id >= '8' and id < '9/02'`, { id: { gte: '8', lt: '9/02' } }],
  [`lower(id) = '3/0013.png'`, {}],
  [`not (prediction = 3)`, {}],
  [`prediction = 3 and prediction + known_label = 6`, { prediction: { eq: 3 } }],
])('where %s: as in Postgres, and Kudu filters by %j', async (condition, where) => {
  const statement = `select id, known_label from ${name} where ${condition} order by id`;
  const answer = await ask(statement);
  expect(answer.rows).toEqual((await askPostgres(db.pool, statement)).rows);
  expect(answer.scans[0]!.where).toEqual(where);
  // Kudu has evaluated it: no row came that it does not hold for.
  const { rows } = await askPostgres(db.pool, `select count(*) from ${name} where ${kuduPart(where)}`);
  expect(answer.scans[0]!.rows).toBe(rows[0]![0]);
});

function kuduPart(where: object): string {
  const signs = { eq: '=', gt: '>', gte: '>=', lt: '<', lte: '<=' };
  const parts = Object.entries(where).flatMap(([column, condition]) =>
    Object.entries(condition as object).map(([kind, value]) =>
      kind === 'isNull'
        ? `(${column} is null) = ${value}`
        : kind === 'in'
          ? `${column} in (${value})`
          : `${column} ${signs[kind as keyof typeof signs]} '${value}'`,
    ),
  );
  return parts.join(' and ') || 'true';
}

test('counting reads no column, a limit no more rows than it says, and what cannot be true nothing', async () => {
  const count = await ask(`select count(*) from ${name}`);
  expect(count).toMatchObject({ rows: [[ROWS]], scans: [{ columns: [], rows: ROWS, bytes: 0 }] });
  const few = await ask(`select * from ${name} where prediction = 3 limit 4 offset 2`);
  expect(few.rows).toHaveLength(4);
  expect(few.rows.every((row) => row[3] === 3)).toBe(true);
  expect(few.scans).toMatchObject([{ columns: CLASSIC.map((column) => column.name), limit: 6, rows: 6 }]);
  const inner = await ask(`select * from (select id from ${name} limit 10 offset 7) limit 2`);
  expect(inner.rows).toHaveLength(2);
  expect(inner.scans).toMatchObject([{ limit: 9, rows: 9 }]);
  // DuckDB drops rows here, and would miss them.
  const dropped = await ask(`select id from ${name} where prediction <> 3 limit 4`);
  expect(dropped.rows).toHaveLength(4);
  expect(dropped.scans).toMatchObject([{ rows: ROWS }]);
  const never = await ask(`select * from ${name} where 1 = 0`);
  expect(never).toMatchObject({ rows: [], scans: [{ rows: 0 }] });
});

test('two tables are joined, each read as far as it is needed', async () => {
  const { rows, scans } = await ask(
    `select word, count(*) from ${name} join ${labels} on label = prediction where word > 't' group by word order by word`,
  );
  const { rows: expected } = await askPostgres(
    db.pool,
    `select prediction, count(*) from ${name} where prediction in (2, 3, 0) group by 1 order by prediction = 0, prediction <> 3`,
  );
  expect(rows).toEqual(
    expected
      .map(([prediction, images]) => [['zero', '', 'two', 'three'][prediction as number], images])
      .sort(),
  );
  expect(new Map(scans.map(({ table, columns, rows: read }) => [table, [columns, read]]))).toEqual(
    new Map([
      [name, [['prediction'], ROWS]],
      [labels, [['label', 'word'], 3]],
    ]),
  );
});

test('a table that is named several times is read once: all their columns, the conditions they share', async () => {
  const statement = `with seven as (select * from ${name} where prediction = 7 and known_label = 7)
    select a.id, b.known_label from seven a join ${name} b on a.id = b.id where b.prediction = 7 and b.known_label > 2
    and not exists (select 1 from ${name} c where c.prediction = 7 and c.known_label = 7 and c.id > a.id) order by 1`;
  const { rows, scans } = await ask(statement);
  expect(rows).toEqual((await askPostgres(db.pool, statement)).rows);
  expect(rows).toHaveLength(1);
  expect(scans).toMatchObject([
    { columns: ['id', 'prediction', 'known_label'], where: { prediction: { eq: 7 } } },
  ]);
});

test('conditions that not every use of a table has are left to DuckDB', async () => {
  const statement = `select a.id, b.id from ${name} a join ${name} b using (known_label)
    where a.prediction = 1 and b.prediction = 4 and a.id < '3' and b.id > '0' order by 1, 2`;
  const { rows, scans } = await ask(statement);
  expect(rows).toEqual((await askPostgres(db.pool, statement)).rows);
  expect(rows.length).toBeGreaterThan(0);
  expect(scans).toMatchObject([{ columns: ['id', 'prediction', 'known_label'], where: {}, rows: ROWS }]);
});

test('windows, subqueries, unions and recursion find what they need', async () => {
  for (const statement of [
    `select id, row_number() over (partition by prediction order by id) as n from ${name} order by id`,
    `select prediction, (select count(*) from ${name} b where b.known_label = a.prediction) from ${name} a order by id`,
    `select prediction from ${name} union select known_label from ${name} where known_label is not null order by 1`,
    `with recursive t(n) as (select 1 union all select n + 1 from t where n < 3)
     select n, count(*) from t join ${name} on prediction = n group by n order by n`,
    `with m as materialized (select * from ${name} where prediction = 1)
     select count(*) from m a join m b using (known_label)`,
    `select id from ${name} order by id desc limit 3`,
    `select 1`,
  ]) {
    expect((await ask(statement)).rows).toEqual((await askPostgres(db.pool, statement)).rows);
  }
});

test('names are found in other letters, and a subquery’s name hides a table', async () => {
  expect((await ask(`select count(*) from ${name.toUpperCase()}`)).rows).toEqual([[ROWS]]);
  const hidden = await ask(`with ${name} as (select 5 as five) select * from ${name}`);
  expect(hidden).toMatchObject({ rows: [[5]], scans: [{ rows: 0 }] });
});

test.each([
  [
    'select * from nope_at_all',
    'NOT_FOUND',
    'Kudu has no table nope_at_all.\nLINE 1: select * from nope_at_all\n                      ^',
  ],
  ['select nope from TABLE', 'USAGE', 'Referenced column "nope" not found'],
  ['selec 1', 'USAGE', 'syntax error at or near "selec"\nLINE 1: selec 1\n        ^'],
  ['update TABLE set known_label = 3', 'USAGE', 'it does not take update'],
  ['select 1; select 2', 'USAGE', 'more than one'],
  ["select * from read_csv('/etc/passwd')", 'USAGE', 'file system operations are disabled'],
  ["select * from '/etc/passwd'", 'NOT_FOUND', 'Kudu has no table /etc/passwd'],
  ['select id::int from TABLE', 'QUERY_FAILED', 'Could not convert'],
])('%j fails: %s', async (statement, code, message) => {
  await expect(ask(statement.replace('TABLE', name))).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
    ...(code === 'NOT_FOUND' && { hint: expect.stringMatching(new RegExp(`^There are: .*\\b${name}\\b`)) }),
  });
});

test('more than is allowed is not read, of all tables together', async () => {
  const pictures = askKudu(client, `select image_pgm from ${name}`, { maxBytes: 100_000 });
  await expect(pictures).rejects.toMatchObject({
    code: 'QUERY_FAILED',
    message: expect.stringMatching(`stopped after \\d+ rows of ${name} \\(image_pgm\\)`),
    hint: expect.stringContaining('--max-mib'),
  });
  const both = `select count(*) from ${name}, ${labels} where prediction = label`;
  await expect(askKudu(client, both, { maxBytes: 4 * ROWS })).rejects.toMatchObject({ code: 'QUERY_FAILED' });
  expect((await askKudu(client, both, { maxBytes: 4 * ROWS + 40 })).rows).toEqual([[ROWS]]);
});

test('a query ends when its time is over, or when it is interrupted', async () => {
  const endless = `select count(*) from ${name} a, ${name} b, ${name} c, ${name} d where a.id || b.id || c.id || d.id = ''`;
  await expect(askKudu(client, endless, { timeoutMs: 300 })).rejects.toMatchObject({ code: 'QUERY_FAILED' });
  const controller = new AbortController();
  const asked = askKudu(client, endless, { signal: controller.signal });
  setTimeout(() => controller.abort(), 300);
  await expect(asked).rejects.toMatchObject({ code: 'INTERRUPTED' });
});
