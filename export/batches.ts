import {
  Field,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  type Utf8,
  Utf8 as Utf8Type,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { errorText, HubError } from '../errors.ts';
import { errorCode, type Pool } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import { type Selection, selectionError } from '../sql/selection.ts';
import type { RowOrder } from '../sql/stored-images.ts';
import { DEFAULT_COLUMNS, type ExportColumn, exportColumns } from './columns.ts';
import { arrowType, buildColumn, indexFields } from './record-columns.ts';

export interface BatchOptions extends Selection {
  /** Names of columns (docs/export.md), or `['all']`; default: what training needs. */
  columns?: readonly string[] | undefined;
  /** At most so many images. */
  limit?: number | undefined;
  /** Most rows of a batch (8192); photos come in smaller ones, of some megabytes. */
  batchRows?: number | undefined;
  /**
   * `id` (default): the same order every time; `length`: short ids first; `any`: as they lie in the table, which may be faster.
   */
  order?: RowOrder | undefined;
  signal?: AbortSignal | undefined;
}

/** Most rows of a batch, if not asked for otherwise. */
export const BATCH_ROWS = 8192;
const BATCH_BYTES = 4 * 1024 * 1024;

/** What a stream of batches is about, known before the first of them. */
export interface BatchSource {
  dataset: Dataset;
  schema: Schema;
  /** Images selected, if they were counted, which takes a pass over the table. */
  total: number | null;
}

/**
 * The selected images as Arrow record batches, from one snapshot, wherever they are; where a user's condition runs, nothing
 * can be written. The next rows are read only when they are asked for; a caller that stops early closes the connection.
 * @param after only images behind this id, in the order
 * @param opened called once with what is to come, before the first batch
 * @throws HubError USAGE for columns that there are not and a condition that cannot be used, NOT_FOUND for the dataset,
 * INTERRUPTED when the signal is aborted, SERVER_UNREACHABLE when the connection is lost on the way
 */
export async function* imageBatches(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  name: string,
  options: BatchOptions,
  {
    after,
    count = false,
    opened,
  }: { after?: string; count?: boolean; opened?: (source: BatchSource) => void } = {},
): AsyncGenerator<RecordBatch> {
  const columns = exportColumns(options.columns ?? DEFAULT_COLUMNS);
  const { order, limit, signal, where, since, until, sample } = options;
  try {
    const { store } = await getDataset(pool, name);
    let total: number | null = null;
    const chunks = stores[store].images.rows(
      pool,
      {
        dataset: name,
        columns: columns.map(({ source }) => source),
        selection: { where, since, until, sample },
        order,
        limit,
        after,
        ...(count && { counted: (images: number) => (total = images) }),
      },
      { rows: options.batchRows ?? BATCH_ROWS, bytes: BATCH_BYTES },
    );
    try {
      let next = await chunks.next();
      // From here on the rows are those of a snapshot: no class is missing that they are of.
      const dataset = await getDataset(pool, name);
      const classes = vectorFromArray(dataset.classes, new Utf8Type());
      const schema = schemaOf(columns, dataset);
      opened?.({ dataset, schema, total });
      for (; !next.done; next = await chunks.next()) {
        throwIfAborted(signal);
        yield recordBatch(schema, columns, indexFields(next.value, columns.length), classes);
        throwIfAborted(signal);
      }
    } finally {
      await chunks.return(undefined);
    }
  } catch (error) {
    throw readError(error, name, options);
  }
}

/** Arrow's schema of these columns; the class names go with it. */
export function schemaOf(columns: readonly ExportColumn[], { name, classes }: Dataset): Schema {
  const fields = columns.map(
    ({ name: column, kind, nullable }) => new Field(column, arrowType(kind), nullable),
  );
  return new Schema(
    fields,
    new Map([
      ['dataset', name],
      ['classes', JSON.stringify(classes)],
    ]),
  );
}

function recordBatch(
  schema: Schema,
  columns: ExportColumn[],
  index: ReturnType<typeof indexFields>,
  classes: Vector<Utf8>,
): RecordBatch {
  const children = columns.map(({ kind }, field) => buildColumn(kind, index, field, classes));
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: index.rows, nullCount: 0, children }),
  );
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new HubError('INTERRUPTED', 'Reading images was interrupted.', { cause: signal.reason });
  }
}

function readError(error: unknown, dataset: string, selection: Selection): unknown {
  if (error instanceof HubError) return error;
  const code = errorCode(error);
  // pg says in words that a connection ended; 57P01, 57P02: the server is stopped.
  const lost =
    code === undefined
      ? /connection (terminated|error)/i.test(errorText(error))
      : /^(08|57P0|ECONN|EPIPE)/.test(code);
  if (!lost) return selectionError(error, dataset, selection);
  return new HubError(
    'SERVER_UNREACHABLE',
    `The connection was lost while images were read: ${errorText(error)}`,
    {
      hint: 'Try again when Postgres is back; imagehub status shows the local servers.',
      cause: error,
    },
  );
}
