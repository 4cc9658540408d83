import fc from 'fast-check';
import { RecordBatch, RecordBatchStreamWriter, tableFromIPC } from 'apache-arrow';
import { MessageWriter } from '../../../kudu/messages/fields.ts';
import { decodeScan } from '../../../kudu/messages/scan.ts';
import { decodeFrame, type Reply } from '../../../kudu/rpc/frame.ts';
import { arrowSchema } from '../../../kudu/scan/arrow-schema.ts';
import { recordBatch } from '../../../kudu/scan/columnar.ts';
import { rowsOf } from '../../../kudu/scan/rows.ts';
import type { ColumnSpec } from '../../../kudu/schema/column.ts';
import { Schema } from '../../../kudu/schema/schema.ts';
import { COLUMN_TYPES, isDecimal } from '../../../kudu/schema/types.ts';
import { encodeCell } from '../../../kudu/encoding/cell.ts';
import type { KuduValue } from '../../../kudu/schema/values.ts';

const COLUMNS: ColumnSpec[] = [
  { name: 'int8', type: 'INT8' },
  { name: 'int16', type: 'INT16', nullable: true },
  { name: 'int32', type: 'INT32' },
  { name: 'int64', type: 'INT64', nullable: true },
  { name: 'float', type: 'FLOAT' },
  { name: 'double', type: 'DOUBLE', nullable: true },
  { name: 'bool', type: 'BOOL', nullable: true },
  { name: 'string', type: 'STRING', nullable: true },
  { name: 'varchar', type: 'VARCHAR', length: 5 },
  { name: 'binary', type: 'BINARY' },
  { name: 'date', type: 'DATE' },
  { name: 'time', type: 'UNIXTIME_MICROS' },
  { name: 'decimal32', type: 'DECIMAL32', precision: 9, scale: 2, nullable: true },
  { name: 'decimal64', type: 'DECIMAL64', precision: 18 },
  { name: 'decimal128', type: 'DECIMAL128', precision: 38, nullable: true },
];
const SCHEMA = new Schema(COLUMNS);

type Row = Record<string, KuduValue>;

const ROWS: Row[] = Array.from({ length: 21 }, (_, index) => ({
  int8: index - 10,
  int16: index % 3 ? index * 1000 : null,
  int32: index * 1e8,
  int64: index % 4 ? -(2n ** 62n) + BigInt(index) : null,
  float: index / 4,
  double: index % 5 ? index / 3 : null,
  bool: index % 7 ? index % 2 === 0 : null,
  string: index % 2 ? 'ü'.repeat(index) : null,
  varchar: 'v',
  binary: new Uint8Array(index).fill(index),
  date: 10 - index,
  time: BigInt(index) * 10n ** 15n,
  decimal32: index % 3 ? BigInt(index) * -1000n : null,
  decimal64: -(10n ** 17n) - BigInt(index),
  decimal128: index % 6 ? -(10n ** 37n) * BigInt(index % 3) : null,
}));

/** What a server would answer: written here by its description, a judge of the decoder. */
function frameOf(rows: Row[], trailing = 0): Uint8Array {
  const sidecars: Uint8Array[] = [];
  const add = (bytes: Uint8Array) => sidecars.push(bytes) - 1;
  const columns = SCHEMA.columns.map((column) => {
    const { size } = COLUMN_TYPES[column.type];
    const cells = rows.map((row) =>
      row[column.name] === null ? new Uint8Array(size) : encodeCell(column, row[column.name]!),
    );
    const writer = new MessageWriter();
    if (size > 0) writer.int(1, add(Buffer.concat(cells)));
    else {
      const ends = cells.reduce((all, cell) => [...all, all.at(-1)! + cell.length], [0]);
      writer.int(1, add(new Uint8Array(Uint32Array.from(rows.length > 0 ? ends : []).buffer)));
      writer.int(2, add(Buffer.concat(cells)));
    }
    if (column.nullable) {
      const bitmap = new Uint8Array(Math.ceil(rows.length / 8));
      for (let index = 0; index < bitmap.length * 8; index++) {
        const bit = index < rows.length ? Number(rows[index]![column.name] !== null) : trailing;
        bitmap[index >> 3]! |= bit << (index & 7);
      }
      writer.int(3, add(bitmap));
    }
    return writer.finish();
  });
  const block = new MessageWriter().all(1, columns).int64(2, BigInt(rows.length)).finish();
  const body = new MessageWriter().bool(3, false).bytes(5, block).finish();
  let offset = body.length;
  const header = new MessageWriter().int(1, 7);
  for (const sidecar of sidecars) {
    header.uint(3, offset);
    offset += sidecar.length;
  }
  const prefixed = (bytes: Uint8Array) => new MessageWriter().bytes(1, bytes).finish().subarray(1);
  return Uint8Array.from(
    Buffer.concat([prefixed(header.finish()), prefixed(Buffer.concat([body, ...sidecars]))]),
  );
}

function decode(frame: Uint8Array): RecordBatch {
  const { body, sidecars }: Reply = decodeFrame(frame);
  return recordBatch(SCHEMA, arrowSchema(SCHEMA), decodeScan(body).block!, sidecars);
}

test('every type comes back as it went, at whatever address its bytes lie', () => {
  const frame = frameOf(ROWS);
  for (let shift = 0; shift < 8; shift++) {
    const memory = new Uint8Array(frame.length + 8);
    memory.set(frame, shift);
    expect([...rowsOf(decode(memory.subarray(shift, shift + frame.length)))]).toEqual(ROWS);
  }
});

test('what Arrow itself makes of a batch is the same, also after it went through its own format', () => {
  const batch = decode(frameOf(ROWS));
  const again = tableFromIPC(new RecordBatchStreamWriter().writeAll([batch]).toUint8Array(true));
  for (const table of [batch, again]) {
    for (const column of SCHEMA.columns.filter(({ type }) => !isDecimal(type) && type !== 'DATE')) {
      const values = [...table.getChild(column.name)!];
      const expected = ROWS.map((row) => row[column.name]!);
      const asArrow = expected.map((value) =>
        column.type === 'UNIXTIME_MICROS' ? Number(value as bigint) / 1000 : value,
      );
      expect(values).toEqual(asArrow);
    }
  }
  expect(String(again.getChild('decimal32')!.get(1))).toContain('-1000');
  expect(again.getChild('int64')!.nullCount).toBe(6);
});

test('a slice of a batch has its own rows', () => {
  const batch = decode(frameOf(ROWS));
  expect([...rowsOf(batch.slice(5, 13))]).toEqual(ROWS.slice(5, 13));
});

test('no rows, and one, are batches too', () => {
  expect(decode(frameOf([])).numRows).toBe(0);
  expect([...rowsOf(decode(frameOf(ROWS.slice(1, 2))))]).toEqual([ROWS[1]]);
});

test('the bits behind the last row mean nothing', () => {
  for (let count = 1; count <= ROWS.length; count++) {
    const batch = decode(frameOf(ROWS.slice(0, count), 1));
    expect([...rowsOf(batch)]).toEqual(ROWS.slice(0, count));
    const nulls = ROWS.slice(0, count).filter(({ int16 }) => int16 === null).length;
    expect(batch.getChild('int16')!.nullCount).toBe(nulls);
  }
});

const one = new Schema([{ name: 'c', type: 'STRING' }]);
const offsets = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
const columnsOf = (...parts: [number?, number?, number?][]) =>
  parts.map(([data, variableData, nonNullBitmap]) => ({ data, variableData, nonNullBitmap }));

test.each([
  ['offsets that fall', 2, columnsOf([0, 1]), [offsets(0, 3, 2), new Uint8Array(3)], 'offset 2 is 2 after 3'],
  [
    'offsets that lie outside',
    1,
    columnsOf([0, 1]),
    [offsets(0, 4), new Uint8Array(3)],
    'lies outside its 3 bytes',
  ],
  [
    'an offset above 2³¹',
    1,
    columnsOf([0, 1]),
    [offsets(0, 2 ** 31), new Uint8Array(3)],
    'offset 1 is -2147483648',
  ],
  [
    'too few offsets',
    2,
    columnsOf([0, 1]),
    [offsets(0, 1), new Uint8Array(3)],
    '8 bytes of offsets for 2 cells',
  ],
  ['no offsets', 1, columnsOf([undefined, 1]), [offsets(0, 1), new Uint8Array(3)], 'its cells are missing'],
  ['a sidecar that is not there', 1, columnsOf([0, 5]), [offsets(0, 1)], 'its bytes are missing'],
  ['a negative sidecar', 1, columnsOf([0, -1]), [offsets(0, 1)], 'its bytes are missing'],
  [
    'two columns for one',
    1,
    columnsOf([0, 1], [0, 1]),
    [offsets(0, 1), new Uint8Array(3)],
    'a block of 2 columns where 1',
  ],
  [
    'rows without end',
    2 ** 40,
    columnsOf([0, 1]),
    [offsets(0), new Uint8Array(3)],
    'a block of 1099511627776 rows',
  ],
  ['fewer than no rows', -1, columnsOf([0, 1]), [offsets(0), new Uint8Array(3)], 'a block of -1 rows'],
])('%s are refused', (_, rows, columns, sidecars, message) => {
  expect(() => recordBatch(one, arrowSchema(one), { rows, columns }, sidecars)).toThrow(message);
});

test('cells and null marks of the wrong size are refused', () => {
  const nullable = new Schema([{ name: 'c', type: 'INT32', nullable: true }]);
  const arrow = arrowSchema(nullable);
  const block = { rows: 9, columns: columnsOf([0, undefined, 1]) };
  const cells = new Uint8Array(36);
  expect(() => recordBatch(nullable, arrow, block, [cells.subarray(1), new Uint8Array(2)])).toThrow(
    'column c (INT32): 35 bytes for 9 cells of 4 bytes',
  );
  expect(() => recordBatch(nullable, arrow, block, [cells, new Uint8Array(1)])).toThrow(
    '1 bytes of null marks for 9 cells',
  );
  expect(() => recordBatch(nullable, arrow, { rows: 9, columns: columnsOf([0]) }, [cells])).toThrow(
    'its null marks are missing',
  );
});

/** Reads every cell through Arrow and through us: whatever a batch claims to have has to be there. */
function readAll(batch: RecordBatch): void {
  const missing = [...rowsOf(batch)].filter((row) => Object.values(row).includes(undefined as never));
  // Arrow's own getter refuses moments beyond 285,000 years; their numbers are read above.
  const count = COLUMNS.filter(({ type }) => type !== 'UNIXTIME_MICROS').map(
    ({ name }) => [...batch.getChild(name)!].filter((value) => value !== undefined).length,
  );
  expect([missing, new Set(count)]).toEqual([[], new Set([batch.numRows])]);
}

test('an answer that is cut or altered anywhere is an error or a batch whose cells can all be read', () => {
  const frame = frameOf(ROWS);
  const tamper = fc.oneof(
    fc.integer({ min: 0, max: frame.length - 1 }).map((length) => frame.slice(0, length)),
    fc
      .array(fc.tuple(fc.integer({ min: 0, max: frame.length - 1 }), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      })
      .map((changes) => {
        const altered = frame.slice();
        for (const [at, byte] of changes) altered[at] = byte;
        return altered;
      }),
    // The header and the message, where the numbers are.
    fc.tuple(fc.integer({ min: 0, max: 160 }), fc.integer({ min: 0, max: 255 })).map(([at, byte]) => {
      const altered = frame.slice();
      altered[at] = byte;
      return altered;
    }),
  );
  let batches = 0;
  fc.assert(
    fc.property(tamper, (bytes) => {
      let batch: RecordBatch;
      try {
        batch = decode(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        return;
      }
      batches++;
      readAll(batch);
    }),
    { numRuns: 3000 },
  );
  // Most changes of a cell are nobody's business.
  expect(batches).toBeGreaterThan(300);
});
