import { type FileHandle, open, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { HubError } from '../errors.ts';
import { type ExportState, saveState } from './state.ts';

/** A file that an export appends to. */
export interface GrowingFile {
  path: string;
  bytes: number;
  append(bytes: Uint8Array): Promise<void>;
  /** Over what is there already. */
  write(at: number, bytes: Uint8Array): Promise<void>;
  read(at: number, length: number): Promise<Buffer>;
  sync(): Promise<void>;
}

/**
 * Opens files to be appended to, each cut to the length that it had when the export was last sure of it: what was written
 * behind that is written again. Close with `await using`.
 * @throws HubError BAD_FILE when one is shorter than it was
 */
export async function openGrowing(
  paths: string[],
  state: Pick<ExportState, 'parts' | 'images'>,
): Promise<AsyncDisposable & { all: GrowingFile[] }> {
  await using opened = new AsyncDisposableStack();
  const all: GrowingFile[] = [];
  for (const path of paths) {
    const bytes = state.parts.find(({ file }) => file === basename(path))?.bytes ?? 0;
    const handle = await open(path, bytes === 0 ? 'w+' : 'r+').catch((cause: unknown) => {
      throw lost(path, 'cannot be opened', cause);
    });
    // An export that wrote nothing leaves nothing behind.
    opened.defer(() => (state.images === 0 ? rm(path, { force: true }) : undefined));
    opened.defer(() => handle.close());
    const { size } = await handle.stat();
    if (size < bytes) throw lost(path, `has ${size} bytes instead of ${bytes}`);
    await handle.truncate(bytes);
    all.push(growing(path, handle, bytes));
  }
  const files = opened.move();
  return { all, [Symbol.asyncDispose]: () => files.disposeAsync() };
}

const lost = (path: string, what: string, cause?: unknown) =>
  new HubError('BAD_FILE', `${path} ${what}.`, {
    hint: 'The export cannot go on: remove the folder and export again.',
    cause,
  });

function growing(path: string, handle: FileHandle, bytes: number): GrowingFile {
  const file: GrowingFile = {
    path,
    bytes,
    async append(more) {
      await file.write(file.bytes, more);
      file.bytes += more.length;
    },
    async write(at, more) {
      for (let done = 0; done < more.length;) {
        done += (await handle.write(more, done, more.length - done, at + done)).bytesWritten;
      }
    },
    async read(at, length) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, at);
      return buffer.subarray(0, bytesRead);
    },
    sync: () => handle.datasync(),
  };
  return file;
}

/** From here on, an interrupted export goes on behind what the files hold now. */
export async function saveGrown(
  folder: string,
  state: ExportState,
  files: GrowingFile[],
  images: number,
): Promise<void> {
  await Promise.all(files.map((file) => file.sync()));
  state.images = images;
  state.parts = files.map(({ path, bytes }) => ({ file: basename(path), images, bytes }));
  await saveState(folder, state);
}
