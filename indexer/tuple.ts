import { COLUMNS, FREE_TEXT, type TextRow } from './documents.ts';

/** Kinds of columns in a tuple. */
const NULL = 0x6e; // n
const UNCHANGED = 0x75; // u: stored out of line and not touched, so the log does not hold it
const TEXT = 0x74; // t

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

/**
 * Takes tuples out of their messages, whose bytes are overwritten by the messages that follow, into blocks of
 * memory that last as long as one of their tuples.
 */
export class TupleStore {
  #block = Buffer.alloc(0);
  #used = 0;

  keep(tuple: Tuple): Tuple {
    const { bytes, start, end } = tuple;
    const length = end - start;
    if (this.#used + length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, length));
      this.#used = 0;
    }
    const at = this.#used;
    bytes.copy(this.#block, at, start, end);
    this.#used += length;
    return { ...tuple, bytes: this.#block, start: at, end: at + length };
  }
}

/** The columns of a tuple. */
export function readTuple({ bytes, start, end, places }: Tuple): TextRow {
  // One character per byte, so that columns are cut out of it where they lie: far cheaper than decoding each.
  const characters = bytes.toString('latin1', start, end);
  const row: TextRow = new Array<string | undefined>(COLUMNS.length).fill(undefined);
  const count = bytes.readInt16BE(start);
  let at = start + 2;
  for (let column = 0; column < count; column++) {
    const place = places[column]!;
    const kind = bytes[at++];
    if (kind === TEXT) {
      const from = at + 4;
      at = from + bytes.readInt32BE(at);
      if (place < 0) continue;
      const text = characters.substring(from - start, at - start);
      row[place] = FREE_TEXT[place] && NOT_ASCII.test(text) ? bytes.toString('utf8', from, at) : text;
    } else if (kind === NULL && place >= 0) row[place] = null;
  }
  return row;
}

const NOT_ASCII = /[^\x00-\x7f]/;
