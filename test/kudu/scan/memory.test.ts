import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { RecordBatch } from 'apache-arrow';
import { type Client, connect, type Table } from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';

const ROWS = 20_000;
let client: Client;
let table: Table;
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
  table = await client.createTable({
    name: uniqueName('memory'),
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'text', type: 'STRING' },
      { name: 'bytes', type: 'BINARY' },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 2 }] },
  });
  const session = client.session();
  for (let id = 0; id < ROWS; id++)
    session.insert(table, { id, text: textOf(id), bytes: Buffer.from(textOf(id)) });
  expect(await session.flush()).toEqual({ errors: [] });
});
afterAll(async () => {
  await client.deleteTable(table.name);
  client.close();
});

const textOf = (id: number) => `${id}.`.padEnd(60, 'x');
/** Some ten batches for each tablet. */
const SMALL = { batchBytes: 128 * 1024 };

function isSound(batch: RecordBatch): boolean {
  const [ids, texts] = [batch.getChild('id')!, batch.getChild('text')!];
  for (let row = 0; row < batch.numRows; row++)
    if (texts.get(row) !== textOf(ids.get(row) as number)) return false;
  return true;
}

/** Texts are never copied, numbers where they are not aligned. */
const memoryOf = (batch: RecordBatch) => (batch.getChild('text')!.data[0]!.values as Uint8Array).buffer;

test('memory is used again where batches are used up one by one, and their rows are the right ones', async () => {
  for (const parallel of [1, 2]) {
    const memories: ArrayBufferLike[] = [];
    let rows = 0;
    for await (const batch of table.scan({ ...SMALL, parallel, reuseMemory: true })) {
      expect(isSound(batch)).toBe(true);
      memories.push(memoryOf(batch));
      rows += batch.numRows;
    }
    expect(rows).toBe(ROWS);
    expect(memories.length).toBeGreaterThan(10);
    expect(new Set(memories).size).toBeLessThan(memories.length / 2);
  }
});

test('without being told so no batch is touched that was given out', async () => {
  for await (const batch of table.scan({ ...SMALL, reuseMemory: true }))
    expect(batch.numRows).toBeGreaterThan(0);
  const batches = await Array.fromAsync(table.scan({ ...SMALL, parallel: 2 }));
  expect(new Set(batches.map(memoryOf)).size).toBe(batches.length);
  expect(batches.every(isSound)).toBe(true);
});

test.each([[['id', 'text']], [['id', 'bytes']]])('row objects of %j can be kept', async (columns) => {
  const rows = await Array.fromAsync(table.scan({ ...SMALL, columns }).rows());
  expect(rows).toHaveLength(ROWS);
  const wrong = rows.filter(
    ({ id, text, bytes }) => String(text ?? Buffer.from(bytes as Uint8Array)) !== textOf(id as number),
  );
  expect(wrong).toEqual([]);
});

test('a loop that is left gives its memory back as well', async () => {
  for await (const batch of table.scan({ ...SMALL, reuseMemory: true })) {
    expect(isSound(batch)).toBe(true);
    break;
  }
  let rows = 0;
  for await (const batch of table.scan({ ...SMALL, limit: 9000, reuseMemory: true })) rows += batch.numRows;
  expect(rows).toBe(9000);
});
