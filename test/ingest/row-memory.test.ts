import { expect, test } from '@jest/globals';
import { loadConfig } from '../../config.ts';
import { unpack } from '../../ingest/batch-task.ts';
import { RowMemory } from '../../ingest/row-memory.ts';
import { Workers } from '../../ingest/workers.ts';
import { createLogger } from '../../log.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { digitsTask } from '../support/batch-task.ts';
import { digitPng } from '../support/digits.ts';

test('memory that is given back is taken again, of up to so many batches, and not if it is huge or was moved away', () => {
  const memory = new RowMemory(2);
  expect(memory.take()).toEqual([]);
  const [first, second, third] = [new ArrayBuffer(10), new ArrayBuffer(20), new ArrayBuffer(30)];
  memory.giveBack([new ArrayBuffer(9 * 1024 * 1024), new ArrayBuffer(9 * 1024 * 1024)]);
  const moved = new ArrayBuffer(8);
  moved.transfer();
  memory.giveBack([moved]);
  memory.giveBack([new SharedArrayBuffer(8)]);
  expect(memory.take()).toEqual([]);
  memory.giveBack([first]);
  memory.giveBack([second, moved, third]);
  memory.giveBack([new ArrayBuffer(40)]);
  expect([memory.take(), memory.take(), memory.take()]).toEqual([[second, third], [first], []]);
});

test('rows written into used memory, larger or too small, are the same as in fresh one', async () => {
  const workers = new Workers(
    { ...loadConfig({}), workers: 1 },
    createLogger({ logLevel: 'silent', logFormat: 'json' }),
  );
  const rowsOf = async (count: number) => {
    const messages = Array.from({ length: count }, (_, i): SourceMessage => ({
      offset: i,
      timestamp: 1000,
      key: Buffer.from(`${i}`),
      value: digitPng(i % 10, i),
      headers: [],
    }));
    const { rows } = await workers.ingest(
      {
        ...digitsTask('postgres'),
        messages,
      },
      false,
    );
    const copies = unpack(rows).map((row) => Buffer.from(row));
    return { buffer: rows.bytes.buffer, copies };
  };
  try {
    const [few, many] = [await rowsOf(3), await rowsOf(40)];
    const size = many.buffer.byteLength;
    workers.rowMemory.postgres.giveBack([many.buffer]);
    const fewInMany = await rowsOf(3);
    expect(fewInMany.copies).toEqual(few.copies);
    expect(fewInMany.buffer.byteLength).toBe(size);
    expect(many.buffer.byteLength).toBe(0); // it was moved to the thread
    workers.rowMemory.postgres.giveBack([few.buffer]);
    expect((await rowsOf(40)).copies).toEqual(many.copies);
  } finally {
    await workers.close();
  }
});
