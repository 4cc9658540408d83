import { appendFile, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { watch } from 'chokidar';
import { errorText, HubError } from '../../errors.ts';
import { listImages } from './folder.ts';
import { notAnImage, type Omissions, type SourceImage } from './image.ts';
import { readBytes, type ReadFile } from './read-files.ts';

/** A file is taken for complete when it has not changed for so long. */
const STABLE_MS = 500;
const POLL_MS = 100;

/**
 * Which files of a watched folder were sent, in which version: a journal that grows by a line per file. It is
 * appended after the acknowledgement, so a line that is missing means sending twice, never not at all.
 */
export interface Journal {
  has(id: string, version: string): boolean;
  add(images: SourceImage[]): Promise<void>;
}

export async function openJournal(file: string, restart: boolean): Promise<Journal> {
  if (restart) await rm(file, { force: true });
  await mkdir(dirname(file), { recursive: true });
  const text = await readFile(file, 'utf8').catch(() => '');
  const sent = new Map<string, string>();
  for (const line of text.split('\n')) {
    try {
      const [id, version] = JSON.parse(line) as [string, string];
      sent.set(id, version);
    } catch {
      // The last line may be torn by a crash.
    }
  }
  // A torn line must not swallow the next one.
  if (text !== '' && !text.endsWith('\n')) await appendFile(file, '\n');
  return {
    has: (id, version) => sent.get(id) === version,
    async add(images) {
      await appendFile(
        file,
        images.map(({ id, position }) => `${JSON.stringify([id, position])}\n`).join(''),
      );
      for (const { id, position } of images) sent.set(id, position);
    },
  };
}

/**
 * The images in a folder and, until interrupted, all that are put into it or changed, each once it is complete.
 * `position` is the file's version (size and modification time). Deleting a file deletes nothing in the hub.
 */
export async function* watchFolder(
  folder: string,
  journal: Journal,
  omissions: Omissions,
  signal: AbortSignal,
  read: ReadFile = readBytes,
): AsyncGenerator<SourceImage> {
  let queue: string[] = [];
  const given = new Map<string, string>();
  let failure: unknown;
  let wake = () => {};
  const watcher = watch(folder, {
    // Files that are there already are listed below: chokidar would poll every one of them for completeness.
    ignoreInitial: true,
    awaitWriteFinish: { stabilityThreshold: STABLE_MS, pollInterval: POLL_MS },
  });
  const changed = (path: string) => {
    const id = relative(folder, path).split(sep).join('/');
    const reason = notAnImage(id);
    if (reason !== null) return omissions.skip(id, reason);
    queue.push(id);
    wake();
  };
  const ready = new Promise<void>((resolve) => watcher.once('ready', resolve));
  watcher.on('add', changed).on('change', changed);
  watcher.on('error', (error) => {
    failure = error;
    wake();
  });
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  try {
    await ready;
    queue = [...(await listImages(folder, omissions)), ...queue];
    while (!signal.aborted) {
      if (failure !== undefined) {
        throw new HubError('BAD_FILE', `Cannot watch ${folder}: ${errorText(failure)}`, { cause: failure });
      }
      const id = queue.shift();
      if (id === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      const position = await completeVersion(join(folder, id), signal);
      // One file may be both listed and announced, before the journal has it.
      if (position === null || given.get(id) === position || journal.has(id, position)) continue;
      given.set(id, position);
      const image = await read({ path: join(folder, id), id, position }, omissions);
      if (image) yield image;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    await watcher.close();
  }
}

/** Size and time of a file once they have stayed the same for a moment; null when it is gone. */
async function completeVersion(path: string, signal: AbortSignal): Promise<string | null> {
  let stats = await stat(path).catch(() => null);
  while (stats !== null && Date.now() - stats.mtimeMs < STABLE_MS && !signal.aborted) {
    await sleep(POLL_MS);
    stats = await stat(path).catch(() => null);
  }
  return stats && `${stats.size} ${stats.mtimeMs}`;
}
