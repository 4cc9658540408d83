import { readFile } from 'node:fs/promises';
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

/** Reads files in the order given, some at once. A file that cannot be read is refused; the others go on. */
export async function* readFiles(
  files: AsyncIterable<FileToRead> | Iterable<FileToRead>,
  omissions: Omissions,
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

/** The file as an image, or null when it was refused. */
export async function read(
  { path, id, position }: FileToRead,
  omissions: Omissions,
): Promise<SourceImage | null> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > 0) return { id, bytes, position };
    omissions.refuse(id, EMPTY_FILE);
  } catch (error) {
    omissions.refuse(id, `cannot be read: ${reasonOf(error)}`);
  }
  return null;
}

/** Without the path that the system's message holds, so that equal reasons are counted together. */
function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EISDIR') return 'it is a folder';
  return code === 'EACCES' ? 'no permission' : (code ?? errorText(error));
}
