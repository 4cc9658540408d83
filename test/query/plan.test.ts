import { expect, test } from '@jest/globals';
import { Schema } from '../../kudu/schema/schema.ts';
import { duckdbType, openDuckDB } from '../../query/duckdb.ts';
import { explainedScans, planScans } from '../../query/plan.ts';

const schema = new Schema([
  { name: 'id', type: 'STRING', key: true },
  { name: 'image', type: 'BINARY' },
  { name: 'prediction', type: 'INT32' },
  { name: 'known_label', type: 'INT32', nullable: true },
]);
const SCHEMAS = new Map([
  ['mnist', schema],
  ['b', schema],
]);

async function plannedBy(plan: typeof planScans, statement: string) {
  using connection = await openDuckDB();
  for (const [name, { columns }] of SCHEMAS)
    await connection.run(
      `create table ${name} (${columns.map((column) => `${column.name} ${duckdbType(column)}`).join(', ')})`,
    );
  return Object.fromEntries(await plan(connection, statement, SCHEMAS));
}

// DuckDB serializes some of these in its second or third way only.
test.each([
  'select * from mnist where prediction = 3 limit 4 offset 2',
  'select a.* from mnist a join b using (id) where a.prediction = 3 limit 3',
  'select * from mnist, b where mnist.prediction = 3 and b.prediction = 4 limit 2',
  'select * from mnist cross join (select max(known_label) from b where prediction = 3) where prediction = 3',
  'select * from (select * from mnist where prediction = 3 limit 5) where known_label = 2',
  'select *, row_number() over (partition by prediction order by id) r from mnist where prediction = 3 qualify r < 3',
  'select distinct on (id) * from mnist where prediction = 3',
  'with m as materialized (select * from mnist where prediction = 3) select * from m x, m y limit 3',
  'select * from mnist where prediction = 3 except select * from b where prediction = 2',
])('the plan of %j is understood', async (statement) => {
  expect((await plannedBy(planScans, statement)).mnist).toMatchObject({
    columns: ['id', 'image', 'prediction', 'known_label'],
    where: { prediction: { eq: 3 } },
  });
});

test('the second way finds the same columns, and lets DuckDB filter', async () => {
  const statement = `select a.id from mnist a join b on a.id = b.id where a.prediction = 3 and b.known_label in (1, 5)`;
  expect(await plannedBy(explainedScans, statement)).toEqual({
    mnist: { columns: ['id', 'prediction'], where: {} },
    b: { columns: ['id', 'known_label'], where: {} },
  });
  expect(await plannedBy(explainedScans, 'select count(*) from mnist')).toEqual({
    mnist: { columns: [], where: {} },
  });
});
