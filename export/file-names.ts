import { createHash } from 'node:crypto';
import { notAnImage } from '../ingest/senders/image.ts';

/** File systems take names of 255 bytes; some are left for an ending. */
const MOST_BYTES = 240;
const KEPT_BYTES = 160;

/**
 * One component of a path: what file systems, shells or `imagehub send` would not take as it is stands as %XX. Two
 * different names never become the same; a very long one is cut, and ends with its hash.
 */
export function safeComponent(name: string): string {
  if (name === '') return '%';
  const escaped = name.replace(/[\u0000-\u001f\u007f%/\\:*?"<>|~]|^[.]|[. ]$/g, (character) =>
    Array.from(Buffer.from(character), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(
      '',
    ),
  );
  if (Buffer.byteLength(escaped) <= MOST_BYTES) return escaped;
  let kept = '';
  for (const character of escaped) {
    if (Buffer.byteLength(kept) + Buffer.byteLength(character) > KEPT_BYTES) break;
    kept += character;
  }
  return `${kept}~${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;
}

const EXTENSIONS: Readonly<Record<string, string>> = { jpeg: 'jpg', tiff: 'tif' };

/**
 * The path that an image of this id gets inside its class's folder. Folders of the id stay folders. An id that does not end
 * like an image's file gets `~` and the format's usual ending, so that it cannot meet another id's file.
 */
export function imagePath(id: string, format: string | null): string {
  const components = id.split('/');
  const file = components.pop()!;
  // A folder named like an image could not lie beside that image.
  const folders = components.map((name) => safeComponent(name) + (notAnImage(name) === null ? '~' : ''));
  const name = safeComponent(file);
  const ending = notAnImage(name) === null ? '' : `~.${EXTENSIONS[format ?? ''] ?? format ?? 'img'}`;
  return [...folders, name + ending].join('/');
}

/** A cell of a CSV (RFC 4180). */
export const csvCell = (text: string): string =>
  /[",\r\n;\t]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
