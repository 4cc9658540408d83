import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errorText, HubError } from '../../errors.ts';
import { decodeName, type ImageSource, notAnImage, type Omissions, type Resume } from './image.ts';
import { type ReadFile, readFiles } from './read-files.ts';

/**
 * All images below a folder, sorted by id; the id is the path inside the folder, with `/`.
 * The list of names is read first (about 100 bytes of memory per file), so that the total is known.
 */
export async function openFolder(
  folder: string,
  omissions: Omissions,
  read?: ReadFile,
): Promise<ImageSource> {
  const ids = await listImages(folder, omissions);
  return {
    name: folder,
    key: `folder:${resolve(folder)}`,
    // Files may come and go while a checkpoint waits: what is new is found by its id or its time.
    version: 'sorted ids',
    total: ids.length,
    ids: () => ids,
    images: (resume) => readFiles(filesAfter(folder, ids, resume), omissions, read),
  };
}

async function* filesAfter(folder: string, ids: string[], resume: Resume | undefined) {
  for (const id of ids) {
    const path = join(folder, id);
    if (resume && id <= resume.position && !(await changedSince(path, resume.startedAt))) continue;
    yield { path, id, position: id };
  }
}

/** By inode change time, which a copy that keeps the modification time cannot set back. */
const changedSince = async (path: string, time: number): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.ctimeMs >= time,
    () => true, // reading it will say what is wrong
  );

/** Ids of all image files below the folder, sorted; everything else is counted by the reason it was left out. */
export async function listImages(folder: string, omissions: Omissions): Promise<string[]> {
  const ids: string[] = [];
  const folders = [''];
  for (let inside = folders.pop(); inside !== undefined; inside = folders.pop()) {
    const entries = await readdir(join(folder, inside), { withFileTypes: true, encoding: 'buffer' }).catch(
      (error: unknown) => {
        if (inside === '') throw new HubError('BAD_FILE', `${folder} cannot be read: ${errorText(error)}`);
        omissions.refuse(inside, `folder cannot be read: ${(error as NodeJS.ErrnoException).code ?? ''}`);
        return [];
      },
    );
    for (const entry of entries) {
      const name = decodeName(entry.name);
      if (name === null) {
        omissions.refuse(inside + entry.name.toString('latin1'), 'file name that is not UTF-8');
        continue;
      }
      const id = inside + name;
      const kind = entry.isSymbolicLink() ? await linkedKind(join(folder, id)) : entry;
      if (kind?.isDirectory()) {
        // A link to a folder may lead in a circle.
        if (entry.isSymbolicLink()) omissions.skip(id, 'link to a folder');
        else folders.push(`${id}/`);
      } else if (kind === null) omissions.refuse(id, 'link that leads nowhere');
      else {
        const reason = kind.isFile() ? notAnImage(id) : 'not a file';
        if (reason === null) ids.push(id);
        else omissions.skip(id, reason);
      }
    }
  }
  return ids.sort();
}

const linkedKind = (path: string) => stat(path).catch(() => null);
