import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

const CHUNK_BYTES = 256 * 1024;

/** Changes when the file's content most likely did. */
export async function fileVersion(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${size} bytes, ${mtimeMs}`;
}

/** The first bytes of a file; fewer when it is shorter. */
export async function readStart(path: string, length: number): Promise<Buffer> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
  return buffer.subarray(0, bytesRead);
}

/** Whether the file begins as gzip does (RFC 1952: 1f 8b), whatever its name. */
export async function isGzip(path: string): Promise<boolean> {
  const start = await readStart(path, 2);
  return start[0] === 0x1f && start[1] === 0x8b;
}

/** The file's bytes, unpacked when it is gzip. Reading on after a damaged spot is not possible: it throws there. */
export async function* readUnpacked(path: string): AsyncGenerator<Buffer> {
  const packed = await isGzip(path);
  const file = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  try {
    if (!packed) return yield* file;
    const unpacked = createGunzip({ chunkSize: CHUNK_BYTES });
    // A failure of either reaches the reader of `unpacked`.
    pipeline(file, unpacked).catch(() => undefined);
    yield* unpacked;
  } finally {
    file.destroy();
  }
}
