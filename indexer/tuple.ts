import { roomFor } from './byte-writer.ts';
import { COLUMNS, type TextRow } from './documents.ts';

/** Kinds of columns in a tuple. */
const NULL = 0x6e; // n
const UNCHANGED = 0x75; // u: stored out of line and not touched, so the log does not hold it
export const TEXT = 0x74; // t

const NEW_TUPLE = 0x4e; // N
/** Tag and relation. */
const MESSAGE_HEAD = 5;

/**
 * A row as it came: a TupleData of the logical replication protocol. It waits for its batch as bytes outside of the heap and
 * is taken apart only then: rows of 34 strings each kept the garbage collector busy for half of the indexer's
 * processor time.
 */
export interface Tuple {
  bytes: Buffer;
  start: number;
  end: number;
  /** For each column of the tuple its place in COLUMNS, or −1. */
  places: readonly number[];
  /** Whether the log holds all its columns. */
  complete: boolean;
}

/**
 * The new row of an Insert or Update (an Update may have the old one, or its key, before it), where it lies in the message.
 * Int16 number of columns, then for each a kind and, for text, Int32 length and the text.
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 * @param wanted places in COLUMNS of columns that are wanted at once
 * @returns the row, and those columns in the order of `wanted`
 * @throws RangeError when the message ends too early, TypeError on a kind that the protocol does not give us
 */
export function newTuple(
  message: Buffer,
  places: readonly number[],
  wanted: readonly number[],
): { tuple: Tuple; columns: TextRow } {
  let start = MESSAGE_HEAD;
  while (message[start] !== NEW_TUPLE) start = skipTuple(message, start + 1);
  start++;
  const columns: TextRow = [];
  let complete = true;
  const count = message.readInt16BE(start);
  let at = start + 2;
  for (let column = 0; column < count; column++) {
    const kind = message[at++];
    if (kind === TEXT) {
      const from = at + 4;
      at = from + message.readInt32BE(at);
      const index = wanted.indexOf(places[column]!);
      if (index >= 0) columns[index] = message.toString('utf8', from, at);
    } else if (kind === UNCHANGED) complete = false;
    else if (kind !== NULL) throw new TypeError(`a column of kind ${kind}`);
  }
  if (at > message.length) throw new RangeError('the message ends within a column');
  return { tuple: { bytes: message, start, end: at, places, complete }, columns };
}

function skipTuple(message: Buffer, start: number): number {
  const count = message.readInt16BE(start);
  let at = start + 2;
  for (let column = 0; column < count; column++) {
    if (message[at++] === TEXT) at += 4 + message.readInt32BE(at);
  }
  return at;
}

/** Some 300 rows of narrow columns: what a few rows that wait longer than the others keep with them is not much. */
const BLOCK_BYTES = 256 * 1024;
/** Kind and length. */
const COLUMN_HEAD = 5;
const EVERY_PLACE = COLUMNS.map((_, place) => place);

/** Keeps tuples in blocks of memory that last as long as one of their tuples. */
export class TupleStore {
  #block = Buffer.alloc(0);
  #used = 0;

  /** Takes a tuple out of its message, whose bytes the messages that follow overwrite. */
  keep({ bytes, start, end, places, complete }: Tuple): Tuple {
    const at = this.#reserve(end - start);
    this.#used = at + bytes.copy(this.#block, at, start, end);
    return { bytes: this.#block, start: at, end: this.#used, places, complete };
  }

  /** Makes a tuple of a row. */
  add(row: TextRow): Tuple {
    const most = row.reduce((sum, text) => sum + COLUMN_HEAD + roomFor(text ?? ''), 2);
    const start = this.#reserve(most);
    const bytes = this.#block;
    let at = bytes.writeInt16BE(row.length, start);
    for (const text of row) {
      if (typeof text === 'string') {
        const length = bytes.write(text, at + COLUMN_HEAD);
        bytes[at] = TEXT;
        bytes.writeInt32BE(length, at + 1);
        at += COLUMN_HEAD + length;
      } else bytes[at++] = text === null ? NULL : UNCHANGED;
    }
    this.#used = at;
    return { bytes, start, end: at, places: EVERY_PLACE, complete: !row.includes(undefined) };
  }

  /** @returns where so many bytes have room in the block, perhaps a new one */
  #reserve(bytes: number): number {
    if (this.#used + bytes > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, bytes));
      this.#used = 0;
    }
    return this.#used;
  }
}

/** The columns of a tuple. */
function readTuple({ bytes, start, places }: Tuple): TextRow {
  const row: TextRow = new Array<string | undefined>(COLUMNS.length).fill(undefined);
  const count = bytes.readInt16BE(start);
  let at = start + 2;
  for (let column = 0; column < count; column++) {
    const place = places[column]!;
    const kind = bytes[at++];
    const from = at + 4;
    if (kind === TEXT) at = from + bytes.readInt32BE(at);
    if (place >= 0 && kind !== UNCHANGED)
      row[place] = kind === NULL ? null : bytes.toString('utf8', from, at);
  }
  return row;
}

/** The newer row; what its update left out, because it did not touch it, is taken from the older one. */
export function filledUp(newer: Tuple, older: Tuple): Tuple {
  const known = readTuple(older);
  const row = readTuple(newer).map((text, place) => (text === undefined ? known[place] : text));
  return new TupleStore().add(row);
}
