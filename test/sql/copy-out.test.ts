import { expect, test } from '@jest/globals';
import { RowReader } from '../../sql/binary-rows.ts';
import { copyOut } from '../../sql/copy-out.ts';
import { withClient } from '../../sql/database.ts';
import { freshDatabase } from '../support/servers.ts';

test('rows larger and smaller than a chunk come whole, in order, and every value as it was', async () => {
  await using db = await freshDatabase();
  const select = `select i::int4, i::int8 * 1000000007, (i::float4 / 4)::float4, case when i % 3 > 0 then 'ä' || i end,
      sha256(i::text::bytea), encode(repeat('x', i * i)::bytea, 'base64') from generate_series(-3, 300) i`;
  const found: unknown[] = [];
  const chunks: number[] = [];
  await withClient(db.pool, async (client) => {
    for await (const { bytes, rows } of copyOut(client, select, { rows: 30, bytes: 20_000 })) {
      chunks.push(rows);
      const reader = new RowReader(bytes);
      while (reader.next()) {
        found.push([
          reader.int4(),
          reader.int8(),
          reader.float4(),
          reader.text(),
          reader.bytea()!.toString('hex'),
          reader.base64()!.toString('latin1'),
        ]);
      }
    }
  });
  const { rows } = await db.pool.query<{ v: unknown[] }>({
    text: `select i, i::int8 * 1000000007, (i::float4 / 4)::float4, case when i % 3 > 0 then 'ä' || i end,
      encode(sha256(i::text::bytea), 'hex'), repeat('x', i * i) from generate_series(-3, 300) i`,
    rowMode: 'array',
  } as never);
  expect(found).toEqual(rows);
  expect(chunks[0]).toBe(30);
  expect(chunks.at(-1)).toBe(1); // 90,000 characters of base64
  expect(chunks.reduce((sum, count) => sum + count)).toBe(304);
});

test('no rows are no chunks', async () => {
  await using db = await freshDatabase();
  await withClient(db.pool, async (client) => {
    const chunks = copyOut(client, 'select 1 where false', { rows: 10, bytes: 1000 });
    expect(await chunks.next()).toEqual({ done: true, value: undefined });
    // The connection is as good as before.
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });
});
