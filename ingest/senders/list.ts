import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { ImageSource, Omissions, Resume } from './image.ts';
import { type FileToRead, type ReadFile, readFiles } from './read-files.ts';

/** The id of a file named by itself: its path as written, with `/` and without a leading `./`. */
export const idOfPath = (path: string): string => path.replaceAll('\\', '/').replace(/^(\.\/+)+/, '');

/** Files named one by one, on the command line. */
export function openFiles(paths: string[], omissions: Omissions, read?: ReadFile): ImageSource {
  return {
    name: paths.length === 1 ? paths[0]! : `${paths.length} files`,
    key: `files:${process.cwd()}`,
    version: createHash('sha256').update(paths.join('\0')).digest('hex'),
    total: paths.length,
    ids: () => paths.map(idOfPath),
    images: (resume) => readFiles(afterPosition(lines(paths), resume), omissions, read),
  };
}

/**
 * Paths on an input stream, one a line, relative to the working folder. Whether a list is the one a checkpoint
 * belongs to shows in a running hash over its first lines; if not, all of it is sent.
 */
export function openList(input: Readable, omissions: Omissions, read?: ReadFile): ImageSource {
  return {
    name: '-',
    key: `list:${process.cwd()}`,
    version: 'running hash',
    images(resume, signal) {
      const reader = createInterface({ input, crlfDelay: Infinity });
      // Also lets go of standard input, which would keep the process alive.
      signal.addEventListener('abort', () => {
        reader.close();
        input.destroy();
      });
      return readFiles(afterPosition(lines(reader), resume), omissions, read);
    },
  };
}

async function* lines(paths: AsyncIterable<string> | Iterable<string>): AsyncGenerator<FileToRead> {
  let hash = '';
  let count = 0;
  for await (const path of paths) {
    if (path === '') continue;
    hash = createHash('sha256').update(`${hash}\n${path}`).digest('base64url');
    yield { path, id: idOfPath(path), position: `${++count} ${hash}` };
  }
}

/** Leaves out what an earlier send got through; all of it comes when the list begins differently. */
async function* afterPosition(files: AsyncIterable<FileToRead>, resume: Resume | undefined) {
  const skipTo = resume ? Number.parseInt(resume.position, 10) : 0;
  let held: FileToRead[] = [];
  let seen = 0;
  for await (const file of files) {
    if (++seen > skipTo) yield file;
    else if (seen < skipTo) held.push(file);
    else {
      if (file.position !== resume!.position) yield* [...held, file];
      held = [];
    }
  }
  yield* held;
}
