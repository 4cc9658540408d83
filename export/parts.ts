import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { errorText, HubError } from '../errors.ts';
import { type ExportPart, type ExportState, saveState } from './state.ts';

/** Writes all batches into one new file. */
export type PartWriter = (file: string, batches: AsyncIterable<RecordBatch>) => Promise<void>;

export interface PartOptions {
  folder: string;
  state: ExportState;
  /** Ends of file names. */
  extension: string;
  /** A part ends with the batch that reaches one of these. */
  partRows: number;
  partBytes: number;
  /** Of the columns read, those that are written: the id is always read. */
  columns: readonly string[];
  onProgress: (images: number) => void;
}

/**
 * Writes batches into files in numbered parts, each complete or not there: a part has another name until it is written,
 * and the state names it after that. So whatever ends an export, it goes on behind the last complete part.
 */
export async function writeParts(
  batches: AsyncGenerator<RecordBatch>,
  write: PartWriter,
  options: PartOptions,
): Promise<void> {
  const { folder, state, extension, columns } = options;
  const draft = join(folder, `_unfinished.${extension}`);
  await checkParts(folder, state.parts);
  try {
    for (let next = await batches.next(); !next.done; next = await batches.next()) {
      let images = 0;
      let bytes = 0;
      let lastId = '';
      const part = async function* () {
        while (!next.done) {
          const batch = next.value;
          images += batch.numRows;
          bytes += batch.data.byteLength;
          lastId = batch.getChild('id')!.get(batch.numRows - 1) as string;
          // Not `select`: of columns in another order it makes a batch with holes (apache-arrow 21).
          const names = batch.schema.names as string[];
          yield batch.selectAt(columns.map((name) => names.indexOf(name)));
          options.onProgress(state.images + images);
          if (images >= options.partRows || bytes >= options.partBytes) return;
          next = await batches.next();
        }
      };
      await write(draft, part());
      const file = `part-${String(state.parts.length).padStart(5, '0')}.${extension}`;
      await sync(draft);
      await rename(draft, join(folder, file));
      state.parts.push({ file, images, bytes: (await stat(join(folder, file))).size });
      state.images += images;
      state.lastId = lastId;
      await saveState(folder, state);
    }
  } finally {
    await rm(draft, { force: true });
    // Also when writing failed: the connection would wait for its reader.
    await batches.return(undefined);
  }
}

/** What the state names must be on the disk before it is named. */
export async function sync(file: string): Promise<void> {
  await using handle = await open(file);
  await handle.datasync();
}

async function checkParts(folder: string, parts: ExportPart[]): Promise<void> {
  for (const { file, bytes } of parts) {
    const problem = await stat(join(folder, file)).then(
      ({ size }) => (size === bytes ? null : `has ${size} bytes instead of ${bytes}`),
      (error: unknown) => `cannot be read: ${errorText(error)}`,
    );
    if (problem === null) continue;
    throw new HubError('BAD_FILE', `${join(folder, file)}, written before, ${problem}.`, {
      hint: 'The export cannot go on: remove the folder and export again.',
    });
  }
}
