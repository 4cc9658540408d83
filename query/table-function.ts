import {
  type DuckDBConnection,
  DuckDBTableFunction,
  type DuckDBTableFunctionInfo,
  TINYINT,
} from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import type { RecordBatch } from 'apache-arrow';
import type { Schema } from '../kudu/schema/schema.ts';
import { duckdbType, quoteName } from './duckdb.ts';
import type { LoadedTable } from './load.ts';
import { type WriteCells, cellWriter } from './vectors.ts';

/** Rows of one of DuckDB's data chunks; a multiple of 8, so that null marks are copied as bytes. */
const CHUNK_ROWS = duckdb.vector_size();
/** Callbacks run one after the other on this thread; what DuckDB does with their rows runs beside. */
const THREADS = 4;

/** DuckDB asks for the first column where it needs none, as for count(*): this one, which the view leaves out and nobody fills. */
const NO_COLUMN = 'rows';

interface Chunk {
  batch: RecordBatch;
  from: number;
  rows: number;
}

/** Where one scan of the table stands. */
interface Position {
  /** For each column of DuckDB's chunk: its place in the batches; undefined: `NO_COLUMN`. */
  places: (number | undefined)[];
  next: number;
}

/**
 * Lets DuckDB see what was loaded of a table under the table's name. Nothing is stored a second time: DuckDB pulls chunks from
 * the Arrow batches. A column that was not loaded is an error if it is asked for, never null.
 * @param number makes the function's name one of its own
 */
export async function registerTable(
  connection: DuckDBConnection,
  number: number,
  schema: Schema,
  { scan, batches }: LoadedTable,
): Promise<void> {
  const types = await typesOf(connection, schema);
  const chunks = batches.flatMap((batch) => [...chunksOf(batch)]);
  const writers = new Map<RecordBatch, WriteCells[]>();
  const name = `kudu_table_${number}`;
  connection.registerTableFunction(
    DuckDBTableFunction.create({
      name,
      supportsProjectionPushdown: true,
      bindFunction(info) {
        info.addResultColumn(NO_COLUMN, TINYINT);
        schema.columns.forEach((column, index) => info.addResultColumn(column.name, types[index]!));
        info.setCardinality(scan.rows, true);
      },
      initFunction(info) {
        const asked = info.getColumnIndexes().map((index) => schema.columns[index - 1]?.name);
        const places = asked.map((column) => column && scan.columns.indexOf(column));
        const missing = places.indexOf(-1);
        if (missing >= 0) info.setError(`column ${asked[missing]} of ${scan.table} was not planned for`);
        info.setMaxThreads(THREADS);
        info.setInitData({ places: places as Position['places'], next: 0 } satisfies Position);
      },
      mainFunction(info, output) {
        const position = info.initData as Position;
        const chunk = chunks[position.next++];
        duckdb.data_chunk_set_size(output.chunk, chunk?.rows ?? 0);
        if (chunk) guarded(info, () => write(chunk, position.places, output.chunk));
      },
    }),
  );
  const columns = schema.columns.map((column) => quoteName(column.name));
  await connection.run(`create view ${quoteName(scan.table)} as select ${columns.join(', ')} from ${name}()`);

  function write({ batch, from, rows }: Chunk, places: Position['places'], output: duckdb.DataChunk): void {
    let cells = writers.get(batch);
    if (!cells) writers.set(batch, (cells = batch.data.children.map((data) => cellWriter(data))));
    places.forEach((place, index) => {
      if (place !== undefined) cells[place]!(duckdb.data_chunk_get_vector(output, index), from, rows);
    });
  }
}

/** DuckDB's own types, as it reads their names. */
async function typesOf(connection: DuckDBConnection, schema: Schema) {
  const nulls = schema.columns.map((column) => `null::${duckdbType(column)}`).join(', ');
  return (await connection.run(`select ${nulls}`)).columnTypes();
}

function* chunksOf(batch: RecordBatch): Generator<Chunk> {
  for (let from = 0; from < batch.numRows; from += CHUNK_ROWS)
    yield { batch, from, rows: Math.min(CHUNK_ROWS, batch.numRows - from) };
}

function guarded(info: DuckDBTableFunctionInfo, work: () => void): void {
  try {
    work();
  } catch (error) {
    info.setError(error instanceof Error ? error.message : String(error));
  }
}
