import { once } from 'node:events';
import type { Writable } from 'node:stream';
import Table from 'cli-table3';
import type { Cell, QueryResult, ResultColumn } from '../query/result.ts';

export const SQL_FORMATS = ['table', 'csv', 'json', 'ndjson'] as const;
export type SqlFormat = (typeof SQL_FORMATS)[number];

/** A table is as wide as its widest values, so its rows are all held before any is printed: not more of them than this. */
export const TABLE_ROWS = 1000;

export interface PrintOptions {
  format: SqlFormat;
  /** The most rows; Infinity: all. */
  limit: number;
}

export interface Printed {
  rows: number;
  /** There were more than the limit. */
  more: boolean;
}

interface Writer {
  head(): string;
  row(cells: Cell[]): string;
  end(): string;
}

/**
 * Prints rows as they come, no faster than they are taken. Whoever takes no more (`| head`) ends it, and that is no error.
 * @param out standard output
 */
export async function printRows(
  { columns, batches }: QueryResult,
  { format, limit }: PrintOptions,
  out: Writable = process.stdout,
): Promise<Printed> {
  const writer = WRITERS[format](columns);
  const printed: Printed = { rows: 0, more: false };
  let gone = false;
  const onError = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    gone = true;
  };
  out.on('error', onError);
  const write = async (text: string) => {
    if (text === '' || gone || out.write(text)) return;
    await once(out, 'drain').catch(onError);
  };
  try {
    await write(writer.head());
    for await (const rows of batches) {
      const taken = rows.slice(0, limit - printed.rows);
      printed.more = taken.length < rows.length;
      printed.rows += taken.length;
      await write(taken.map((row) => writer.row(row)).join(''));
      if (gone || printed.more) break;
    }
    await write(writer.end());
  } finally {
    out.off('error', onError);
  }
  return printed;
}

const WRITERS: Record<SqlFormat, (columns: ResultColumn[]) => Writer> = { table, csv, json, ndjson };

function table(columns: ResultColumn[]): Writer {
  const lines = new Table({
    head: columns.map(({ name }) => visible(name)),
    colAligns: columns.map(({ numeric }) => (numeric ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  return {
    head: () => '',
    row(cells) {
      lines.push(cells.map(shortText));
      return '';
    },
    end: () => `${lines.toString()}\n`,
  };
}

/** RFC 4180, with line feeds; a null is nothing, an empty text a pair of quotes. */
function csv(columns: ResultColumn[]): Writer {
  const line = (cells: Cell[]) => `${cells.map(csvField).join(',')}\n`;
  return { head: () => line(columns.map(({ name }) => name)), row: line, end: () => '' };
}

function csvField(cell: Cell): string {
  if (cell === null) return '';
  const text = fullText(cell);
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function json(columns: ResultColumn[]): Writer {
  const { row } = ndjson(columns);
  let first = true;
  return {
    head: () => '[',
    row(cells) {
      const begin = first ? '\n' : ',\n';
      first = false;
      return `${begin}  ${row(cells).trimEnd()}`;
    },
    end: () => (first ? ']\n' : '\n]\n'),
  };
}

function ndjson(columns: ResultColumn[]): Writer {
  const keys = uniqueNames(columns.map(({ name }) => name));
  const row = (cells: Cell[]) =>
    `{${cells
      .map((cell, index) => {
        const { numeric } = columns[index]!;
        const value = numeric && typeof cell === 'string' ? exactNumber(cell) : cell;
        return `${JSON.stringify(keys[index])}:${JSON.stringify(value, jsonCell)}`;
      })
      .join(',')}}\n`;
  return { head: () => '', row, end: () => '' };
}

/** An object has each name once: the second `id` becomes `id_2`. */
function uniqueNames(names: string[]): string[] {
  const taken = new Set(names);
  const used = new Set<string>();
  return names.map((name) => {
    let free = name;
    for (let n = 2; used.has(free); n++) if (!taken.has(`${name}_${n}`)) free = `${name}_${n}`;
    used.add(free);
    taken.add(free);
    return free;
  });
}

/** The digits that every number of 64 bits tells apart. */
const EXACT_DIGITS = 15;

/** A decimal as a number where that is exact, else as it is. */
function exactNumber(text: string): number | string {
  const digits = text.replace(/^-?0*\.?0*/, '').replace(/\.|(?<=\.\d*)0+$/g, '');
  return /^-?[\d.]+$/.test(text) && digits.length <= EXACT_DIGITS ? Number(text) : text;
}

/** What JSON does not have: large integers and numbers that are none as texts, bytes as Postgres writes them. */
function jsonCell(this: unknown, _key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return bytesOf(value) ? hex(bytesOf(value)!) : value;
}

/** A Buffer has become its `toJSON` by the time that it gets here. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) return value as Uint8Array;
  const { type, data } = (value ?? {}) as { type?: unknown; data?: unknown };
  return type === 'Buffer' && Array.isArray(data) ? Uint8Array.from(data as number[]) : undefined;
}

const hex = (bytes: Uint8Array): string =>
  `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;

function fullText(cell: Cell): string {
  if (cell === null) return 'null';
  if (ArrayBuffer.isView(cell)) return hex(cell as Uint8Array);
  return typeof cell === 'object' ? JSON.stringify(cell, jsonCell) : String(cell);
}

/** So many bytes are shown in full, or of more the first ones. */
const [ALL_BYTES, FIRST_BYTES] = [16, 4];
const [ALL_CHARACTERS, FIRST_CHARACTERS] = [80, 40];

/** For a terminal: `\x50350a32… (802 bytes)`. */
function shortText(cell: Cell): string {
  if (ArrayBuffer.isView(cell)) {
    const bytes = cell as Uint8Array;
    if (bytes.length <= ALL_BYTES) return hex(bytes);
    return `${hex(bytes.subarray(0, FIRST_BYTES))}… (${bytes.length.toLocaleString('en')} bytes)`;
  }
  const text = fullText(cell);
  if (text.length <= ALL_CHARACTERS) return visible(text);
  return `${visible(text.slice(0, FIRST_CHARACTERS))}… (${text.length.toLocaleString('en')} characters)`;
}

/** What would move the cursor, or command the terminal, is shown instead of done. */
const visible = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (character) => ESCAPES[character] ?? `\\x${codeOf(character)}`);

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const codeOf = (character: string) => character.codePointAt(0)!.toString(16).padStart(2, '0');
