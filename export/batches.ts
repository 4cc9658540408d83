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
import pg from 'pg';
import { errorText, HubError } from '../errors.ts';
import { copyOut } from '../sql/copy-out.ts';
import { errorCode, type Pool } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import {
  checkCondition,
  checkSelection,
  type Selection,
  selectionError,
  selectionSql,
} from '../sql/selection.ts';
import { streamSnapshot } from '../sql/stream-snapshot.ts';
import { DEFAULT_COLUMNS, type ExportColumn, exportColumns } from './columns.ts';
import { arrowType, buildColumn, indexFields } from './record-columns.ts';

export interface BatchOptions extends Selection {
  /** Names of columns (docs/export.md), or `['all']`; default: what training needs. */
  columns?: readonly string[] | undefined;
  /** At most so many images. */
  limit?: number | undefined;
  /** Most rows of a batch (8192); photos come in smaller ones, of some megabytes. */
  batchRows?: number | undefined;
  /** `id` (default): the same order every time; `any`: as they lie in the table, which may be faster. */
  order?: 'id' | 'any' | undefined;
  signal?: AbortSignal | undefined;
}

/** Which rows, beyond the selection, and in which order: SQL over the image as `i`. */
export interface RowOrder {
  after?: string | undefined;
  by: string;
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
 * The selected images as Arrow record batches, from one snapshot in a transaction that cannot write. The next rows are
 * read only when they are asked for; a caller that stops early closes the connection.
 * @param opened called once with what is to come, before the first batch
 * @throws HubError USAGE for columns that there are not and a condition that cannot be used, NOT_FOUND for the dataset,
 * INTERRUPTED when the signal is aborted, SERVER_UNREACHABLE when the connection is lost on the way
 */
export async function* imageBatches(
  pool: Pool,
  name: string,
  options: BatchOptions,
  {
    order = orderOf(options),
    count = false,
    opened,
  }: { order?: RowOrder | null; count?: boolean; opened?: (source: BatchSource) => void } = {},
): AsyncGenerator<RecordBatch> {
  const columns = exportColumns(options.columns ?? DEFAULT_COLUMNS);
  try {
    yield* streamSnapshot(pool, async function* (client) {
      const dataset = await getDataset(client, name);
      const total = count ? await checkSelection(client, name, options) : null;
      if (!count) await checkCondition(client, name, options);
      // Else rows with their images would be sorted, on disk.
      if (order) await client.query('set local enable_sort = off');
      const classes = vectorFromArray(dataset.classes, new Utf8Type());
      const schema = schemaOf(columns, dataset);
      opened?.({ dataset, schema, total });
      const limits = { rows: options.batchRows ?? BATCH_ROWS, bytes: BATCH_BYTES };
      for await (const chunk of copyOut(client, statement(name, columns, options, order), limits)) {
        throwIfAborted(options.signal);
        yield recordBatch(schema, columns, indexFields(chunk, columns.length), classes);
        throwIfAborted(options.signal);
      }
    });
  } catch (error) {
    throw readError(error, name, options);
  }
}

const orderOf = ({ order }: BatchOptions): RowOrder | null =>
  order === 'any' ? null : { by: 'i.dataset, i.id' };

function statement(
  dataset: string,
  columns: ExportColumn[],
  options: BatchOptions,
  order: RowOrder | null,
): string {
  const after = order?.after === undefined ? '' : ` and ${order.after}`;
  return `select ${columns.map(({ sql }) => sql).join(', ')} from ${selectionSql(dataset, options)}${after}${
    order ? ` order by ${order.by}` : ''
  }${options.limit === undefined ? '' : ` limit ${options.limit}`}`;
}

/** Rows behind this id. */
export const afterId = (id: string): RowOrder => ({
  after: `i.id > ${pg.escapeLiteral(id)}`,
  by: 'i.dataset, i.id',
});

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
