import type { Data, RecordBatch } from 'apache-arrow';
import type { ColumnType } from '../schema/types.ts';

/** A cell as scans give it back: what `checkValue` returns for it, so that a row that was read can be written. */
export type CellValue = bigint | number | string | boolean | Uint8Array | null;

/** Reads a column's cell in the batch's row `index`. */
export type CellReader = (index: number) => CellValue;

/** By column, what reads its cell in a row of the batch, as `rowsOf` has it. */
export const cellReaders = (batch: RecordBatch): Map<string, CellReader> =>
  new Map(
    batch.schema.fields.map(({ name, metadata }, index) => [
      name,
      cellReader(metadata.get('kudu') as ColumnType, batch.data.children[index]!),
    ]),
  );

/** The rows of a scan's batch as objects (see `KuduValue`): convenient, and several times slower than its columns. */
export function* rowsOf(batch: RecordBatch): Generator<Record<string, CellValue>, void, undefined> {
  const columns = [...cellReaders(batch)];
  for (let index = 0; index < batch.numRows; index++) {
    const row: Record<string, CellValue> = {};
    for (const [name, read] of columns) row[name] = read(index);
    yield row;
  }
}

function cellReader(type: ColumnType, data: Data): CellReader {
  const read = valueReader(type, data);
  return data.nullCount === 0 ? read : (index) => (data.getValid(index) ? read(index) : null);
}

function valueReader(type: ColumnType, data: Data): CellReader {
  const values = data.values as Uint8Array;
  const { valueOffsets: offsets, offset } = data;
  switch (type) {
    case 'BOOL':
    case 'IS_DELETED':
      // A slice of a batch has a part of the numbers, but all of the bits.
      return (index) => ((values[(index + offset) >> 3]! >> ((index + offset) & 7)) & 1) === 1;
    case 'STRING':
    case 'VARCHAR': {
      const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
      return (index) => bytes.toString('utf8', offsets[index], offsets[index + 1]);
    }
    case 'BINARY':
      return (index) => values.subarray(offsets[index], offsets[index + 1]);
    case 'DECIMAL32':
    case 'DECIMAL64':
    case 'DECIMAL128': {
      const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
      return (index) => (view.getBigInt64(index * 16 + 8, true) << 64n) | view.getBigUint64(index * 16, true);
    }
    case 'INT8':
    case 'INT16':
    case 'INT32':
    case 'INT64':
    case 'FLOAT':
    case 'DOUBLE':
    case 'DATE':
    case 'UNIXTIME_MICROS':
      return (index) => values[index]!;
  }
}
