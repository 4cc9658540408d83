import { readFields, readInt64 } from './fields.ts';

/*
 * common/wire_protocol.proto
 *   ColumnarRowBlockPB { repeated Column columns = 1; int64 num_rows = 2 }
 *   Column             { int32 data_sidecar = 1; int32 varlen_data_sidecar = 2; int32 non_null_bitmap_sidecar = 3 }
 */
export interface ColumnarRowBlock {
  rows: number;
  columns: ColumnarColumn[];
}

/** Numbers of sidecars; undefined: there is none. */
export interface ColumnarColumn {
  /** Cells of a fixed size; or rows + 1 offsets (u32) into the bytes of text and binary. */
  data: number | undefined;
  variableData: number | undefined;
  /** A bit is set where the cell is not null. Only for nullable columns. */
  nonNullBitmap: number | undefined;
}

/** @throws Error when the bytes are no such message */
export function decodeColumnarRowBlock(bytes: Uint8Array): ColumnarRowBlock {
  const block: ColumnarRowBlock = { rows: 0, columns: [] };
  readFields(bytes, {
    1: (reader) => void block.columns.push(decodeColumn(reader.bytes())),
    2: (reader) => (block.rows = Number(readInt64(reader))),
  });
  return block;
}

function decodeColumn(bytes: Uint8Array): ColumnarColumn {
  const column: ColumnarColumn = { data: undefined, variableData: undefined, nonNullBitmap: undefined };
  readFields(bytes, {
    1: (reader) => (column.data = reader.int32()),
    2: (reader) => (column.variableData = reader.int32()),
    3: (reader) => (column.nonNullBitmap = reader.int32()),
  });
  return column;
}
