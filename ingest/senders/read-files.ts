import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { errorText } from '../../errors.ts';
import { EMPTY_FILE, type Omissions, type SourceImage } from './image.ts';

export interface FileToRead {
  /** Buffer: where the name is not UTF-8. */
  path: string;
  id: string;
  position: string;
}

/** Reads run ahead of the sending by this many files; more does not help a local disk. */
const READ_AHEAD = 16;

/** Makes an image of a file, or null when that was refused. */
export type ReadFile = (file: FileToRead, omissions: Omissions) => Promise<SourceImage | null>;

/** Reads files in the order given, some at once. A file that cannot be read is refused; the others go on. */
export async function* readFiles(
  files: AsyncIterable<FileToRead> | Iterable<FileToRead>,
  omissions: Omissions,
  read: ReadFile = readBytes,
): AsyncGenerator<SourceImage> {
  const ahead: Promise<SourceImage | null>[] = [];
  for await (const file of files) {
    ahead.push(read(file, omissions));
    if (ahead.length < READ_AHEAD) continue;
    const image = await ahead.shift()!;
    if (image) yield image;
  }
  for (const reading of ahead) {
    const image = await reading;
    if (image) yield image;
  }
}

/** The file's bytes. */
export const readBytes: ReadFile = async ({ path, id, position }, omissions) => {
  try {
    const bytes = await readFile(path);
    if (bytes.length > 0) return { id, bytes, position };
    omissions.refuse(id, EMPTY_FILE);
  } catch (error) {
    omissions.refuse(id, `cannot be read: ${reasonOf(error)}`);
  }
  return null;
};

/** The file's name as a `file:` URL, for the pipeline to read it. @param check why it will not, or null */
export const nameOnly =
  (check: (path: string) => Promise<string | null>): ReadFile =>
  async ({ path, id, position }, omissions) => {
    const absolute = resolve(path);
    try {
      const file = await stat(absolute);
      const problem = !file.isFile() ? 'not a file' : file.size === 0 ? EMPTY_FILE : await check(absolute);
      if (problem === null) return { id, bytes: NOTHING, url: pathToFileURL(absolute).href, position };
      omissions.refuse(id, problem);
    } catch (error) {
      omissions.refuse(id, `cannot be read: ${reasonOf(error)}`);
    }
    return null;
  };

const NOTHING = Buffer.alloc(0);

/** Without the path that the system's message holds, so that equal reasons are counted together. */
function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EISDIR') return 'it is a folder';
  return code === 'EACCES' ? 'no permission' : (code ?? errorText(error));
}
