import pg from 'pg';
import { ByteWriter } from './byte-writer.ts';
import { AT, COLUMNS, type Kind, KINDS } from './documents.ts';
import { TEXT, type Tuple } from './tuple.ts';

/**
 * Writes the document of a row, as JSON. What is null in the row is absent in the document.
 * - `predicted_class`, `known_class`: names of the indexes; absent where the index names no class
 * - `correct`: only where both a prediction and a known label are there
 * - `location`: only where both coordinates are on the globe; `latitude`, `longitude` stay as they are
 *
 * Nearly all of what Postgres prints is JSON already and is copied byte by byte.
 * @param tuple printed under PRINTED_AS
 * @param classes class names in index order
 */
export function writeDocument(out: ByteWriter, tuple: Tuple, classes: readonly string[]): void {
  const { bytes, start, places } = tuple;
  let prediction = NaN;
  let known = NaN;
  let latitude = NaN;
  let longitude = NaN;
  out.byte(OPEN);
  const count = bytes.readInt16BE(start);
  let at = start + 2;
  for (let column = 0; column < count; column++) {
    if (bytes[at++] !== TEXT) continue;
    const from = at + 4;
    at = from + bytes.readInt32BE(at);
    const place = places[column]!;
    if (place < 0) continue;
    writeField(out, place, bytes, from, at);
    if (place === AT.prediction) prediction = numberIn(bytes, from, at);
    else if (place === AT.known_label) known = numberIn(bytes, from, at);
    else if (place === AT.latitude) latitude = numberIn(bytes, from, at);
    else if (place === AT.longitude) longitude = numberIn(bytes, from, at);
  }
  const names = namesOf(classes);
  copy(out, names.predicted[prediction] ?? NOTHING);
  copy(out, names.known[known] ?? NOTHING);
  if (prediction >= 0 && !Number.isNaN(known)) copy(out, prediction === known ? CORRECT : WRONG);
  if (Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180)
    out.text(`"location":{"lat":${latitude},"lon":${longitude}},`);
  // In place of the last comma: every row has a dataset.
  out.length--;
  out.byte(CLOSE);
}

/** The document as a string. */
export function documentJson(tuple: Tuple, classes: readonly string[]): string {
  const out = new ByteWriter();
  writeDocument(out, tuple, classes);
  return out.bytes.toString();
}

const OPEN = 0x7b; // {
const CLOSE = 0x7d; // }
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = 0x20;
const POINT = 0x2e;
const PLUS = 0x2b;
const HASH = 0x23;
const LETTER_A = 0x61;
const LETTER_F = 0x66;
const LETTER_T = 0x74;
const DASH = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

const NOTHING = Buffer.alloc(0);
const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const CORRECT = Buffer.from('"correct":true,');
const WRONG = Buffer.from('"correct":false,');

const KEYS = COLUMNS.map((name) => Buffer.from(`"${name}":`));
const KIND_OF = COLUMNS.map((name): Kind => KINDS[name]);
/** The type text[], which pg's list of names lacks. */
const TEXT_ARRAY = 1009;
/** Longest that is written around a value: two quotes, a comma, what a time has more as JSON. */
const AROUND = 8;

/** Key, value and comma; nothing where there is no such value in JSON or in Elasticsearch. */
function writeField(out: ByteWriter, place: number, bytes: Buffer, from: number, to: number): void {
  const key = KEYS[place]!;
  const start = out.length;
  out.reserve(key.length + to - from + AROUND);
  copy(out, key);
  let written: boolean;
  switch (KIND_OF[place]!) {
    case 'number':
      // NaN, Infinity and -Infinity are none of JSON's.
      written = isDigit(bytes[to - 1]!);
      if (written) copyPart(out, bytes, from, to);
      break;
    case 'boolean':
      written = true;
      // t or f
      copy(out, bytes[from] === LETTER_T ? TRUE : FALSE);
      break;
    case 'texts':
      written = writeTexts(out, bytes, from, to);
      break;
    case 'text':
      written = writeText(out, bytes, from, to);
      break;
    case 'time':
      written = writeTime(out, bytes, from, to);
      break;
    case 'bytes':
      written = true;
      // \x and hexadecimal digits
      out.buffer[out.length++] = QUOTE;
      copyPart(out, bytes, from + 2, to);
      out.buffer[out.length++] = QUOTE;
      break;
    case 'json':
      written = writeJson(out, bytes, from, to);
      break;
  }
  if (written) out.byte(COMMA);
  else out.length = start;
}

const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE;

/** Shorter ones are copied faster here than by a call of the system. */
const LONG = 128;

function copyPart(out: ByteWriter, bytes: Buffer, from: number, to: number): void {
  const { buffer } = out;
  let at = out.length;
  if (to - from > LONG) at += bytes.copy(buffer, at, from, to);
  else for (let i = from; i < to; i++) buffer[at++] = bytes[i]!;
  out.length = at;
}

function copy(out: ByteWriter, bytes: Buffer): void {
  out.reserve(bytes.length);
  copyPart(out, bytes, 0, bytes.length);
}

function writeText(out: ByteWriter, bytes: Buffer, from: number, to: number): true {
  const { buffer } = out;
  let at = out.length;
  buffer[at++] = QUOTE;
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    if (byte < SPACE || byte === QUOTE || byte === BACKSLASH) {
      out.text(JSON.stringify(bytes.toString('utf8', from, to)));
      return true;
    }
    buffer[at++] = byte;
  }
  buffer[at++] = QUOTE;
  out.length = at;
  return true;
}

const parseTexts = pg.types.getTypeParser(TEXT_ARRAY as never) as (text: string) => (string | null)[];

/** `{#ff0000,"a b"}` → `["#ff0000","a b"]`; nulls in it are left out. */
function writeTexts(out: ByteWriter, bytes: Buffer, from: number, to: number): true {
  for (let i = from + 1; i < to - 1; i++) {
    const byte = bytes[i]!;
    if (byte === COMMA || byte === HASH || isDigit(byte) || (byte >= LETTER_A && byte <= LETTER_F)) continue;
    const texts = parseTexts(bytes.toString('utf8', from, to)).flat(Infinity);
    out.text(JSON.stringify(texts.filter((text) => text !== null)));
    return true;
  }
  // Colours alone; written digit by digit they need no parser.
  out.text('[');
  if (to - from > 2) {
    const buffer = out.reserve(3 * (to - from));
    let at = out.length;
    buffer[at++] = QUOTE;
    for (let i = from + 1; i < to - 1; i++) {
      if (bytes[i] === COMMA) buffer[at++] = QUOTE;
      buffer[at++] = bytes[i]!;
      if (bytes[i] === COMMA) buffer[at++] = QUOTE;
    }
    buffer[at++] = QUOTE;
    out.length = at;
  }
  out.text(']');
  return true;
}

/** A `flattened` field takes objects alone; jsonb may hold anything. */
function writeJson(out: ByteWriter, bytes: Buffer, from: number, to: number): boolean {
  if (bytes[from] === OPEN) copyPart(out, bytes, from, to);
  else {
    const text = bytes.toString('utf8', from, to);
    if (text === 'null') return false;
    out.text(`{"value":${text}}`);
  }
  return true;
}

/** Characters of `2026-11-21 17:38:42`. */
const TO_SECONDS = 19;
const DIGITS_OF_SECOND = 3;
const parseTime = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ) as (text: string) => unknown;

/** `2026-11-21 17:38:42.123456+00` → `"2026-11-21T17:38:42.123Z"`. */
function writeTime(out: ByteWriter, bytes: Buffer, from: number, to: number): boolean {
  const fraction = from + TO_SECONDS;
  const zone = to - 3;
  const usual =
    bytes[from + 4] === DASH &&
    bytes[from + 10] === SPACE &&
    bytes[zone] === PLUS &&
    bytes[zone + 1] === ZERO &&
    bytes[zone + 2] === ZERO &&
    (fraction === zone || bytes[fraction] === POINT);
  if (!usual) {
    // Postgres knows years (and infinity) that a JavaScript date does not: those are left out.
    const time = parseTime(bytes.toString('latin1', from, to));
    if (!(time instanceof Date) || Number.isNaN(time.getTime())) return false;
    out.text(`"${time.toISOString()}"`);
    return true;
  }
  const { buffer } = out;
  let at = out.length;
  buffer[at++] = QUOTE;
  for (let i = from; i < fraction; i++) buffer[at++] = bytes[i]!;
  buffer[at - 9] = 0x54; // T
  buffer[at++] = POINT;
  for (let digit = 1; digit <= DIGITS_OF_SECOND; digit++) {
    const i = fraction + digit;
    buffer[at++] = i < zone ? bytes[i]! : ZERO;
  }
  buffer[at++] = 0x5a; // Z
  buffer[at++] = QUOTE;
  out.length = at;
  return true;
}

/** Most are indexes of classes: digits alone. */
function numberIn(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9 || i - from > 8) return Number(bytes.toString('latin1', from, to));
    value = value * 10 + digit;
  }
  return value;
}

interface Names {
  predicted: Buffer[];
  known: Buffer[];
}

const NAMES = new WeakMap<readonly string[], Names>();

function namesOf(classes: readonly string[]): Names {
  let names = NAMES.get(classes);
  if (!names) {
    const fields = (key: string) => classes.map((name) => Buffer.from(`"${key}":${JSON.stringify(name)},`));
    names = { predicted: fields('predicted_class'), known: fields('known_class') };
    NAMES.set(classes, names);
  }
  return names;
}
