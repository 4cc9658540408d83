import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { sniff } from '../images/sniff.ts';
import { csvCell, imagePath, safeComponent } from './file-names.ts';
import { openGrowing, saveGrown } from './growing-files.ts';
import { type ExportState, STATE_FILE } from './state.ts';

export const FOLDER_COLUMNS = ['id', 'image', 'known_label', 'format'] as const;

export const LABELS_FILE = 'labels.csv';
/**
 * Names the files of the batch that is being written, and how many images were sure before it. Readers of such folders pass
 * over names with `_`.
 */
const WRITING_FILE = '_writing.json';

interface Writing {
  before: number;
  files: string[];
}

/** Its folder; a class of that name has it as `unlabelled~`. */
export const UNLABELLED = 'unlabelled';
/** Files being written at the same time: as many as libuv has threads, and some that wait. */
const AT_ONCE = 16;
/** Folders remembered as made. */
const MOST_FOLDERS = 10_000;

/**
 * Writes the original bytes into a folder per class, and `labels.csv`: file, label (class name), id. After every batch
 * the export can go on from there; files of a batch that was on its way are removed, as their images may be of another
 * class by then, and written again.
 */
export async function writeFolder(
  batches: AsyncGenerator<RecordBatch>,
  {
    folder,
    state,
    classes,
    onProgress,
  }: { folder: string; state: ExportState; classes: string[]; onProgress: (images: number) => void },
): Promise<void> {
  await removeUnsure(folder, state);
  await using files = await openGrowing([join(folder, LABELS_FILE)], state);
  const labels = files.all[0]!;
  const made = new Set<string>();
  const names = classFolders(classes);
  try {
    if (labels.bytes === 0) await labels.append(Buffer.from('file,label,id\n'));
    for await (const batch of batches) {
      const [ids, images, known, formats] = FOLDER_COLUMNS.map((name) => batch.getChild(name)!);
      let lines = '';
      const paths: string[] = [];
      for (let row = 0; row < batch.numRows; row++) {
        const id = ids!.get(row) as string;
        const label = known!.get(row) as number | null;
        const format = (formats!.get(row) as string | null) ?? formatOf(images!.get(row) as Uint8Array);
        const path = `${label === null ? UNLABELLED : names[label]!}/${imagePath(id, format)}`;
        lines += `${csvCell(path)},${label === null ? '' : csvCell(classes[label]!)},${csvCell(id)}\n`;
        paths.push(path);
      }
      const writes: Writing = { before: state.images, files: paths };
      await writeFile(join(folder, WRITING_FILE), JSON.stringify(writes));
      let writing: Promise<void>[] = [];
      for (let row = 0; row < batch.numRows; row++) {
        writing.push(write(join(folder, paths[row]!), images!.get(row) as Uint8Array, made));
        if (writing.length < AT_ONCE && row + 1 < batch.numRows) continue;
        await Promise.all(writing);
        writing = [];
      }
      await labels.append(Buffer.from(lines));
      state.lastId = ids!.get(batch.numRows - 1) as string;
      await saveGrown(folder, state, files.all, state.images + batch.numRows);
      onProgress(state.images);
    }
    await rm(join(folder, WRITING_FILE), { force: true });
  } finally {
    await batches.return(undefined);
  }
}

async function removeUnsure(folder: string, { images }: ExportState): Promise<void> {
  const file = join(folder, WRITING_FILE);
  // Of half a list, no file has been begun.
  const written = await readFile(file, 'utf8')
    .then((text) => JSON.parse(text) as Writing)
    .catch(() => null);
  if (written?.before === images) {
    for (const path of written.files) await rm(join(folder, path), { force: true });
  }
  await rm(file, { force: true });
}

/** A folder per class; none is that of the unlabelled, nor hidden by a file of ours. */
export const classFolders = (classes: string[]): string[] =>
  classes.map((name) => {
    const folder = safeComponent(name);
    return [UNLABELLED, LABELS_FILE, WRITING_FILE, STATE_FILE].includes(folder) ? `${folder}~` : folder;
  });

/** Of a row that no pipeline measured. */
function formatOf(bytes: Uint8Array): string | null {
  try {
    return sniff(bytes, { maxPixels: Infinity }).format;
  } catch {
    return null;
  }
}

async function write(file: string, bytes: Uint8Array, made: Set<string>): Promise<void> {
  const folder = dirname(file);
  if (!made.has(folder)) {
    await mkdir(folder, { recursive: true });
    if (made.size >= MOST_FOLDERS) made.clear();
    made.add(folder);
  }
  await writeFile(file, bytes);
}
