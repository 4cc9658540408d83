import { type FileHandle, open } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import { DataType, makeVector, type RecordBatch, type Schema, type Vector } from 'apache-arrow';
import type { SchemaElement } from 'hyparquet';
import { ByteWriter, type ColumnSource, ParquetWriter, type Writer } from 'hyparquet-writer';

/** Row groups as readers like them: some ten thousand rows, unless those are photos. */
const GROUP_ROWS = 65_536;
const GROUP_BYTES = 32 * 1024 * 1024;
/** Of the writer's memory, which grows to a row group's size. */
const FIRST_BYTES = 1024 * 1024;

/** Writes batches as a Parquet file, a row group at a time; images as they are, all else compressed by zstd. */
export async function writeParquetFile(file: string, batches: AsyncIterable<RecordBatch>): Promise<void> {
  await using handle = await open(file, 'w');
  const output = fileWriter(handle);
  let writer: ParquetWriter | undefined;
  let group: RecordBatch[] = [];
  let rows = 0;
  let bytes = 0;
  const writeGroup = async () => {
    if (rows === 0) return;
    const { schema } = group[0]!;
    writer ??= new ParquetWriter({
      writer: output,
      schema: parquetSchema(schema),
      codec: 'ZSTD',
      compressors: { ZSTD: zstdCompressSync },
      createdBy: 'imagehub',
      kvMetadata: Array.from(schema.metadata, ([key, value]) => ({ key, value })),
    });
    await writer.write({ columnData: columnsOf(schema, group), rowGroupSize: rows });
    group = [];
    rows = bytes = 0;
  };
  for await (const batch of batches) {
    group.push(batch);
    rows += batch.numRows;
    bytes += batch.data.byteLength;
    if (rows >= GROUP_ROWS || bytes >= GROUP_BYTES) await writeGroup();
  }
  await writeGroup();
  await writer?.finish();
}

/** Keeps what was written until the end of a row group, then hands it to the file. */
function fileWriter(file: FileHandle): Writer {
  const writer = new ByteWriter(FIRST_BYTES);
  const flush = async () => {
    await file.writeFile(writer.getBytes());
    writer.index = 0;
  };
  return Object.assign(writer, { flush, finish: flush });
}

/** The schema as Parquet's tree, in depth-first order. https://parquet.apache.org/docs/file-format/types/logicaltypes */
function parquetSchema(schema: Schema): SchemaElement[] {
  const root: SchemaElement = { name: 'images', num_children: schema.fields.length };
  return [
    root,
    ...schema.fields.flatMap(({ name, type, nullable }): SchemaElement[] => {
      const repetition_type = nullable ? 'OPTIONAL' : 'REQUIRED';
      if (DataType.isList(type)) {
        return [
          { name, repetition_type, num_children: 1, converted_type: 'LIST', logical_type: { type: 'LIST' } },
          { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
          { name: 'element', repetition_type: 'REQUIRED', ...leaf(type.valueType) },
        ];
      }
      return [{ name, repetition_type, ...leaf(type) }];
    }),
  ];
}

function leaf(type: DataType): Partial<SchemaElement> {
  if (DataType.isTimestamp(type)) {
    return { type: 'INT64', logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MICROS' } };
  }
  if (DataType.isBool(type)) return { type: 'BOOLEAN' };
  if (DataType.isInt(type)) return { type: type.bitWidth === 64 ? 'INT64' : 'INT32' };
  if (DataType.isFloat(type)) return { type: type.ArrayType === Float32Array ? 'FLOAT' : 'DOUBLE' };
  if (DataType.isUtf8(type) || DataType.isDictionary(type)) {
    return { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } };
  }
  return { type: 'BYTE_ARRAY' };
}

function columnsOf(schema: Schema, group: RecordBatch[]): ColumnSource[] {
  return schema.fields.map(({ name, type }) => {
    const data = group.flatMap((batch) => valuesOf(batch.getChild(name)!, type));
    // Images are compressed already; nobody looks for one by its bytes.
    if (name === 'image') return { name, data, encoding: 'PLAIN', codec: 'UNCOMPRESSED', statistics: false };
    if (DataType.isBinary(type)) return { name, data, encoding: 'PLAIN', statistics: false };
    return { name, data };
  });
}

function valuesOf(vector: Vector, type: DataType): unknown[] {
  // As they lie in memory: microseconds. As values they would be milliseconds.
  if (DataType.isTimestamp(type)) {
    const { values, length } = vector.data[0]!;
    return Array.from({ length }, (_, row) => (vector.isValid(row) ? (values as BigInt64Array)[row] : null));
  }
  if (DataType.isList(type)) {
    const { valueOffsets, children, length } = vector.data[0]!;
    const values: unknown[] = DataType.isUtf8(type.valueType)
      ? Array.from(makeVector(children[0]!) as Iterable<string>)
      : Array.from(children[0]!.values as Float32Array);
    return Array.from({ length }, (_, row) =>
      vector.isValid(row) ? values.slice(valueOffsets[row], valueOffsets[row + 1]) : null,
    );
  }
  return Array.from(vector as Iterable<unknown>);
}
