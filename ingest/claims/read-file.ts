import { constants } from 'node:fs';
import { open, realpath, stat } from 'node:fs/promises';
import { sep } from 'node:path';
import { type RefusalReason, Refused } from './aim.ts';
import { collect } from './collect.ts';

/** What does not pass by itself. All else, such as EIO or too many open files, may. */
const FINAL = new Map<string | undefined, [RefusalReason, string]>([
  ['ENOENT', ['not-found', 'There is no such file']],
  ['ENOTDIR', ['not-found', 'There is no such file']],
  ['ENAMETOOLONG', ['not-found', 'There is no such file']],
  ['EACCES', ['fetch-refused', 'The ingest may not read it']],
  ['EPERM', ['fetch-refused', 'The ingest may not read it']],
  ['ELOOP', ['fetch-refused', 'Its links lead in a circle']],
  ['ENXIO', ['fetch-refused', 'It is no ordinary file']],
]);

function readError(error: unknown, path: string): unknown {
  const known = FINAL.get((error as NodeJS.ErrnoException).code);
  return known ? new Refused(known[0], `${known[1]}: ${path}.`) : error;
}

/**
 * The file itself, all links followed, when that is in one of the folders. @throws Refused: it is not, or there is none;
 * anything else may pass
 */
export async function locate(path: string, folders: readonly string[]): Promise<string> {
  const refused = (why = '') =>
    new Refused(
      'url-not-allowed',
      `${path} is not fetched: it is not in a folder of IMAGEHUB_IMAGE_URL_FOLDERS${why}.`,
    );
  if (folders.length === 0) throw refused(', which names none');
  const roots = await Promise.all(folders.map((folder) => realpath(folder).catch(() => null)));
  const named = folders.findIndex((folder, i) => isBelow(path, folder) || isBelow(path, roots[i]!));
  let file: string;
  try {
    file = await realpath(path);
  } catch (error) {
    // Nobody is told what there is elsewhere.
    if (named < 0) throw refused();
    // A disk that is not mounted yet, perhaps.
    if (roots[named] === null)
      throw new Error(`${folders[named]}, a folder of IMAGEHUB_IMAGE_URL_FOLDERS, is not there`, {
        cause: error,
      });
    throw readError(error, path);
  }
  if (roots.some((root) => isBelow(file, root))) return file;
  throw refused(named < 0 ? '' : `, as links lead to ${file}`);
}

const isBelow = (path: string, folder: string | null): boolean =>
  folder !== null && path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

/** @throws Refused; anything else may pass */
export async function readImageFile(
  path: string,
  folders: readonly string[],
  limit: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const file = await locate(path, folders);
  // Opening a pipe would wait for somebody to write to it.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
  await using handle = await open(file, flags).catch((error: unknown) => {
    throw readError(error, path);
  });
  const opened = await handle.stat();
  if (!opened.isFile()) throw new Refused('fetch-refused', `${path} is no ordinary file.`);
  // A folder on the way may have been replaced by a link since it was looked at.
  const now = await stat(await locate(file, folders)).catch(() => null);
  if (now?.ino !== opened.ino || now.dev !== opened.dev) throw new Error(`${path} was being replaced.`);
  const stream = handle.createReadStream({ autoClose: false, signal });
  return await collect(stream, opened.size, limit);
}
