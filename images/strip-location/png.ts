import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { stripExif } from './jpeg.ts';
import { notRemovable } from './refusal.ts';
import { stripXmp } from './xmp.ts';

const SIGNATURE_BYTES = 8;
/** Length and type before a chunk's body, CRC behind it. */
const CHUNK_HEAD = 8;
const CHUNK_FRAME = 12;
/** What a compressed text may inflate to. */
const MOST_TEXT = 16 * 1024 * 1024;
const XMP_KEYWORD = 'XML:com.adobe.xmp';
/** As ImageMagick keeps the profiles of other formats: in hexadecimal digits. */
const RAW_PROFILE = /^Raw profile type (exif|app1|xmp)$/i;

/**
 * Takes the place out of a PNG (ISO/IEC 15948): out of the EXIF (`eXIf`) and the texts that hold XMP or EXIF; texts whose
 * keyword is about it are dropped, and so is what lies behind the picture. A changed chunk gets a new CRC; all others stay
 * as they are.
 * @param bytes to be changed
 * @returns the same bytes, or others where a chunk's length changed
 */
export function stripPng(bytes: Buffer): Buffer {
  const parts: Buffer[] = [bytes.subarray(0, SIGNATURE_BYTES)];
  let at = SIGNATURE_BYTES;
  while (at + CHUNK_FRAME <= bytes.length) {
    const end = at + CHUNK_FRAME + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    const chunk = bytes.subarray(at, end);
    const stripped = stripChunk(chunk);
    if (stripped) parts.push(stripped);
    at = end;
    if (chunk.toString('latin1', 4, CHUNK_HEAD) === 'IEND') return Buffer.concat(parts);
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts);
}

/** @returns null: the chunk is to be dropped */
function stripChunk(chunk: Buffer): Buffer | null {
  const type = chunk.toString('latin1', 4, CHUNK_HEAD);
  const body = chunk.subarray(CHUNK_HEAD, -4);
  if (type === 'eXIf') {
    stripExif(body);
    return withCrc(chunk);
  }
  if (type !== 'tEXt' && type !== 'zTXt' && type !== 'iTXt') return chunk;
  const keywordEnd = body.indexOf(0);
  if (keywordEnd < 0) return chunk;
  const keyword = body.toString('latin1', 0, keywordEnd);
  if (/gps/i.test(keyword)) return null;
  if (keyword !== XMP_KEYWORD && !RAW_PROFILE.test(keyword)) return chunk;
  const text = readText(type, body, keywordEnd);
  if (!text) return chunk;
  const before = Buffer.from(text.content);
  if (keyword === XMP_KEYWORD) stripXmp(text.content, 0, text.content.length);
  else stripRawProfile(text.content);
  if (text.content.equals(before)) return chunk;
  if (!text.compressed) return withCrc(chunk);
  return newChunk(type, Buffer.concat([body.subarray(0, text.at), deflateSync(text.content)]));
}

interface Text {
  /** To be changed; a view into the chunk if it is not compressed. */
  content: Buffer;
  /** Where it begins in the chunk's body. */
  at: number;
  compressed: boolean;
}

/**
 * `tEXt`: keyword 0 text. `zTXt`: keyword 0 method:u8 zlib-stream. `iTXt`: keyword 0 compressed:u8 method:u8 language 0
 * translated keyword 0 text, or zlib-stream. Null: cut short.
 */
function readText(type: string, body: Buffer, keywordEnd: number): Text | null {
  let at = keywordEnd + 1;
  let compressed = type === 'zTXt';
  if (type === 'zTXt') at += 1;
  if (type === 'iTXt') {
    compressed = body[at] === 1;
    const language = body.indexOf(0, at + 2);
    const translated = language < 0 ? -1 : body.indexOf(0, language + 1);
    if (translated < 0) return null;
    at = translated + 1;
  }
  if (!compressed) return { content: body.subarray(at), at, compressed };
  try {
    return { content: inflateSync(body.subarray(at), { maxOutputLength: MOST_TEXT }), at, compressed };
  } catch {
    throw notRemovable('a compressed text of the PNG cannot be read');
  }
}

/** `\nname\n<length>\n` and hexadecimal digits with line breaks; the profile may have its JPEG prefix. */
function stripRawProfile(content: Buffer): void {
  const head = /^\s*\S+\s+\d+\s/.exec(content.toString('latin1', 0, 64));
  if (!head) throw notRemovable('a profile in the PNG cannot be read');
  const places: number[] = [];
  for (let at = head[0].length; at < content.length; at++) if (content[at]! > 0x20) places.push(at);
  const profile = Buffer.from(places.map((at) => String.fromCharCode(content[at]!)).join(''), 'hex');
  if (profile.length * 2 !== places.length) throw notRemovable('a profile in the PNG cannot be read');
  const xmp = profile.indexOf('<');
  if (
    profile.subarray(0, 6).toString('latin1') === 'Exif\0\0' ||
    /^(II\*\0|MM\0\*)/.test(profile.toString('latin1', 0, 4))
  ) {
    stripExif(profile);
  } else if (xmp >= 0) stripXmp(profile, xmp, profile.length);
  const digits = profile.toString('hex');
  for (const [i, at] of places.entries()) content[at] = digits.charCodeAt(i);
}

function withCrc(chunk: Buffer): Buffer {
  chunk.writeUInt32BE(crc32(chunk.subarray(4, -4)), chunk.length - 4);
  return chunk;
}

function newChunk(type: string, body: Buffer): Buffer {
  const chunk = Buffer.alloc(CHUNK_FRAME + body.length);
  chunk.writeUInt32BE(body.length, 0);
  chunk.write(type, 4, 'latin1');
  body.copy(chunk, CHUNK_HEAD);
  return withCrc(chunk);
}
