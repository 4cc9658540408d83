import type { RecordBatch } from 'apache-arrow';
import { HubError } from '../errors.ts';
import type { Pool } from '../sql/database.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import { keepSelection, type KeptSelection, type Selection } from '../sql/selection.ts';
import { writeArrowFile } from './arrow-file.ts';
import { BATCH_ROWS, type BatchSource, imageBatches } from './batches.ts';
import { DEFAULT_COLUMNS, exportColumns } from './columns.ts';
import { FOLDER_COLUMNS, writeFolder } from './folder.ts';
import { IDX_COLUMNS, writeIdxFiles } from './idx-files.ts';
import { writeParquetFile } from './parquet-file.ts';
import { writeParts } from './parts.ts';
import { type ExportPart, type ExportState, forgetState, holdFolder, openState, saveState } from './state.ts';

export const EXPORT_FORMATS = ['arrow', 'parquet', 'folder', 'idx'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportRequest {
  format: ExportFormat;
  /** A folder: a new one, an empty one, or one where the same export was interrupted. */
  output: string;
  /** Only for arrow and parquet. */
  columns?: readonly string[] | undefined;
  selection: Selection;
  /** The selection as it was given: an age such as `7d` stays what it was when the export began. */
  given?: KeptSelection | undefined;
  limit?: number | undefined;
  /** How IDX files begin (the dataset's name). */
  name?: string | undefined;
  /** A part of arrow or parquet ends at so many images (100,000) or bytes (256 MiB in memory). */
  partRows?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((images: number, total: number) => void) | undefined;
}

export interface ExportResult {
  dataset: string;
  format: ExportFormat;
  output: string;
  images: number;
  /** Of them, written by an earlier export that was interrupted. */
  imagesBefore: number;
  files: ExportPart[];
  seconds: number;
}

const PART_ROWS = 100_000;
const PART_BYTES = 256 * 1024 * 1024;

/**
 * Writes selected images and what is known of them into a folder, some megabytes at a time, however many there are. An
 * export that ends before its end goes on where it stopped when it is asked for again; each stretch is from one
 * snapshot, and what it goes on with is what the table holds then.
 * @throws HubError USAGE, NOT_FOUND for an empty selection, ALREADY_EXISTS for a folder of something else, CONFLICT for one
 *   that another process exports into, INTERRUPTED
 */
export async function exportImages(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  dataset: Dataset,
  request: ExportRequest,
): Promise<ExportResult> {
  const { format, output, limit } = request;
  const started = performance.now();
  const columns = columnsOf(request);
  const name = request.name ?? dataset.name;
  await using _held = await holdFolder(output);
  const { state, resumed } = await openState(
    output,
    {
      dataset: dataset.name,
      datasetCreatedAt: await createdAt(pool, dataset.name),
      format,
      columns,
      selection: request.given ?? keepSelection(request.selection),
      limit: limit ?? null,
      name,
    },
    keepSelection(request.selection),
  );
  const imagesBefore = state.images;
  const selection: Selection = {
    ...request.selection,
    since: state.since === null ? null : new Date(state.since),
    until: state.until === null ? null : new Date(state.until),
  };
  const left = limit === undefined ? undefined : limit - state.images;
  let total = 0;
  const batches = imageBatches(
    { pool, stores },
    dataset.name,
    {
      ...selection,
      columns: columns.includes('id') ? columns : ['id', ...columns],
      limit: left,
      // IDX files have no ids: `…/9` comes before `…/10` in them, as it did in the files that the digits came from.
      order: format === 'idx' ? 'length' : 'id',
      // Parts are whole batches.
      batchRows: request.partRows && Math.min(request.partRows, BATCH_ROWS),
      signal: request.signal,
    },
    {
      ...(state.lastId !== null && { after: state.lastId }),
      count: true,
      opened(source: BatchSource) {
        total = Math.min(source.total!, limit ?? Infinity);
        if (total > 0 || resumed) return;
        throw new HubError('NOT_FOUND', `No image of ${dataset.name} is selected.`, {
          hint: 'Nothing was exported.',
        });
      },
    },
  );
  const onProgress = (images: number) => request.onProgress?.(images, total);
  await write(batches, dataset, { ...request, state, columns, onProgress }).catch(async (error: unknown) => {
    // Nothing is there that an export of something else could spoil.
    if (state.images === 0) await forgetState(output);
    throw error;
  });
  state.finishedAt = new Date().toISOString();
  await saveState(output, state);
  return {
    dataset: dataset.name,
    format,
    output,
    images: state.images,
    imagesBefore,
    files: state.parts,
    seconds: Math.round(performance.now() - started) / 1000,
  };
}

function columnsOf({ format, columns }: ExportRequest): readonly string[] {
  if (format === 'arrow' || format === 'parquet') {
    return exportColumns(columns ?? DEFAULT_COLUMNS).map(({ name }) => name);
  }
  if (columns !== undefined) {
    throw new HubError('USAGE', `The format ${format} has no columns to choose.`, {
      hint: 'Leave --columns out, or export to arrow or parquet.',
    });
  }
  return format === 'folder' ? FOLDER_COLUMNS : IDX_COLUMNS;
}

function write(
  batches: AsyncGenerator<RecordBatch>,
  { classes }: Dataset,
  request: ExportRequest & {
    state: ExportState;
    columns: readonly string[];
    onProgress: (images: number) => void;
  },
): Promise<void> {
  const { format, output: folder, state, columns, onProgress } = request;
  switch (format) {
    case 'arrow':
    case 'parquet':
      return writeParts(batches, format === 'arrow' ? writeArrowFile : writeParquetFile, {
        folder,
        state,
        columns,
        onProgress,
        extension: format,
        partRows: request.partRows ?? PART_ROWS,
        partBytes: PART_BYTES,
      });
    case 'folder':
      return writeFolder(batches, { folder, state, classes, onProgress });
    case 'idx':
      return writeIdxFiles(batches, { folder, state, onProgress });
  }
}

async function createdAt(pool: Pool, dataset: string): Promise<string> {
  const { rows } = await pool.query<{ created: string }>(
    'select created_at::text as created from imagehub.datasets where name = $1',
    [dataset],
  );
  return rows[0]!.created;
}
