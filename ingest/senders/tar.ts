import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { errorText, HubError } from '../../errors.ts';
import { fileVersion, isGzip } from './file.ts';
import {
  decodeName,
  EMPTY_FILE,
  type ImageSource,
  notAnImage,
  type Omissions,
  type SourceImage,
} from './image.ts';

/**
 * The images in a tar, compressed or not, in its order; the id is the path inside it. Entries whose path leads out
 * of the archive (`../`, absolute) are refused by name, the others are sent.
 */
export async function openTar(path: string, omissions: Omissions): Promise<ImageSource> {
  const gzip = await isGzip(path);
  const { size } = await stat(path);
  if (!gzip) await checkEnd(path, size);
  let bytesRead = () => 0;
  return {
    name: path,
    key: `tar:${resolve(path)}`,
    version: await fileVersion(path),
    fraction: () => (size === 0 ? 1 : bytesRead() / size),
    async *images(resume, signal) {
      const file = createReadStream(path);
      bytesRead = () => file.bytesRead;
      // Names come byte by byte, so that one that is not UTF-8 is noticed.
      const options: object = { filenameEncoding: 'latin1' };
      const entries = extract(options);
      // Its errors arrive through the iteration too, where they can be reported with what was sent before.
      const reading = pipeline(gzip ? [file, createGunzip(), entries] : [file, entries], { signal });
      reading.catch(() => undefined);
      let index = 0;
      try {
        for await (const entry of entries) {
          const sentBefore = ++index <= Number(resume?.position ?? 0);
          const image = sentBefore
            ? null
            : await readEntry(entry.header, entry as AsyncIterable<Uint8Array>, omissions);
          if (image) yield { ...image, position: String(index) };
          else entry.resume();
        }
        await reading;
      } catch (error) {
        if (signal.aborted) return;
        throw new HubError(
          'BAD_FILE',
          `${path} is damaged or cut short after ${index} entries: ${errorText(error)}`,
          {
            hint: 'Everything before that was sent. Get the file again and send it; what is sent twice is harmless.',
            cause: error,
          },
        );
      } finally {
        file.destroy();
      }
    },
  };
}

const BLOCK_BYTES = 512;

/** A tar ends with two empty blocks (POSIX pax, ustar format); without them it was cut short somewhere. */
async function checkEnd(path: string, size: number): Promise<void> {
  await using file = await open(path);
  const end = Buffer.alloc(2 * BLOCK_BYTES, 1);
  await file.read(end, 0, end.length, Math.max(0, size - end.length));
  if (end.some((byte) => byte !== 0)) {
    throw new HubError('BAD_FILE', `${path} is cut short: it does not end as a tar does.`, {
      hint: 'Nothing of it was sent. Get the file again.',
    });
  }
}

async function readEntry(
  header: Header,
  entry: AsyncIterable<Uint8Array>,
  omissions: Omissions,
): Promise<Omit<SourceImage, 'position'> | null> {
  if (header.type === 'directory') return null;
  const name =
    (header.pax as { path?: string } | undefined)?.path ?? decodeName(Buffer.from(header.name, 'latin1'));
  if (name === null) return refuse(omissions, header.name, 'entry name that is not UTF-8');
  const id = name.replace(/^(\.\/+)+/, '');
  if (header.type !== 'file' && header.type !== 'contiguous-file') return skip(omissions, id, 'not a file');
  if (/^[/\\]|^[a-zA-Z]:[/\\]/.test(id)) return refuse(omissions, id, 'entry with an absolute path');
  if (id.split(/[/\\]/).includes('..'))
    return refuse(omissions, id, 'entry that leads out of the archive (../)');
  const reason = notAnImage(id);
  if (reason !== null) return skip(omissions, id, reason);
  const bytes = await buffer(entry);
  return bytes.length > 0 ? { id, bytes } : refuse(omissions, id, EMPTY_FILE);
}

function skip(omissions: Omissions, name: string, reason: string): null {
  omissions.skip(name, reason);
  return null;
}

function refuse(omissions: Omissions, name: string, reason: string): null {
  omissions.refuse(name, reason);
  return null;
}
