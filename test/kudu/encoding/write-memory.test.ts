import { RowOperations } from '../../../kudu/encoding/row-operations.ts';
import { WriteMemory } from '../../../kudu/encoding/write-memory.ts';
import { Schema } from '../../../kudu/schema/schema.ts';

const MIB = 1024 * 1024;
const SCHEMA = new Schema([{ name: 'id', type: 'STRING', key: true }]);

test('memory that was given back is taken again, empty', () => {
  const memory = new WriteMemory();
  const first = new RowOperations(SCHEMA, memory);
  first.append('INSERT', { id: 'x'.repeat(100_000) });
  const buffers = [first.rows.buffer, first.indirectData.buffer];
  first.release();
  const second = new RowOperations(SCHEMA, memory);
  second.append('INSERT', { id: 'y' });
  expect(Buffer.from(second.indirectData).toString()).toBe('y');
  expect(buffers).toContain(second.rows.buffer);
  expect(buffers).toContain(second.indirectData.buffer);
});

test('large pieces are not kept, nor more than 32 MiB in all', () => {
  const memory = new WriteMemory();
  const give = (bytes: number) => {
    const piece = new WriteMemory().take();
    piece.reserve(bytes);
    memory.giveBack(piece);
    return piece;
  };
  give(9 * MIB);
  expect(memory.take().bytes.length).toBeLessThan(MIB);
  const given = Array.from({ length: 6 }, () => give(7 * MIB));
  const taken = Array.from({ length: 6 }, () => memory.take());
  expect(taken.filter((piece) => given.includes(piece))).toHaveLength(4);
});
