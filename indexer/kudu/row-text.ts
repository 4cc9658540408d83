import type { CellValue, Column } from '../../kudu/index.ts';
import { COLUMNS, type Kind, KINDS, type TextRow } from '../documents.ts';

type CellText = (value: NonNullable<CellValue>) => string | null;

const BY_KIND: Record<Kind, CellText> = {
  text: String,
  number: (value) => (Object.is(value, -0) ? '-0' : String(value)),
  boolean: (value) => (value ? 't' : 'f'),
  time: (value) => timeText(value as bigint),
  bytes: (value) => `\\x${value as string}`,
  texts: (value) => textsText(value as string),
  json: (value) => jsonText(value as string),
};

/** The columns of a table in Kudu from which documents are made, with who reads and who prints each. */
export interface PrintedColumn {
  name: string;
  /** Its place in COLUMNS. */
  place: number;
  print: CellText;
}

/** @param columns of the table; what it lacks (a later version's) is null in every row */
export const printedColumns = (columns: readonly Pick<Column, 'name' | 'type'>[]): PrintedColumn[] =>
  COLUMNS.flatMap((name, place) => {
    const column = columns.find((one) => one.name === name);
    if (!column) return [];
    const print =
      column.type === 'FLOAT'
        ? (value: NonNullable<CellValue>) => floatText(value as number)
        : BY_KIND[KINDS[name]];
    return [{ name, place, print }];
  });

/** Makes rows as Postgres would print them of cells of Kudu's. */
export function printRow(
  dataset: string,
  columns: readonly (PrintedColumn & { read: (row: number) => CellValue })[],
  row: number,
): TextRow {
  const texts: TextRow = new Array<string | null>(COLUMNS.length).fill(null);
  texts[0] = dataset;
  for (const { place, read, print } of columns) {
    const value = read(row);
    if (value !== null) texts[place] = print(value);
  }
  return texts;
}

/** Digits that any number of 32 bits keeps, and digits that tell any two of them apart. */
const FEWEST_DIGITS = 6;
const MOST_DIGITS = 9;
/** Whole numbers below are all there are in 32 bits; none has a shorter text than its digits. */
const LARGEST_WHOLE = 2 ** 24;

/** The shortest text that is the same number of 32 bits, as Postgres prints a real. */
export function floatText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < LARGEST_WHOLE) return BY_KIND.number(value)!;
  for (let digits = FEWEST_DIGITS; digits < MOST_DIGITS; digits++) {
    const text = value.toPrecision(digits);
    const short = Number(text);
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(MOST_DIGITS)));
}

const MICROS = 1000n;

/** `2026-11-21 17:38:42.123+00`: microseconds are not indexed. null: a year that JavaScript does not know. */
function timeText(micros: bigint): string | null {
  const before = micros % MICROS < 0n ? 1n : 0n;
  const date = new Date(Number(micros / MICROS - before));
  if (Number.isNaN(date.getTime())) return null;
  const iso = date.toISOString();
  // -000001-…, +012026-…: a year BC, or of five digits and more.
  const at = iso.indexOf('-', 1);
  const year = Number(iso.slice(0, at));
  const rest = `${iso.slice(at, at + 6)} ${iso.slice(at + 7, -1)}+00`;
  if (year <= 0) return `${String(1 - year).padStart(4, '0')}${rest} BC`;
  return `${String(year).padStart(4, '0')}${rest}`;
}

/** `["#ff0000","a b"]` → `{#ff0000,"a b"}`. */
function textsText(json: string): string | null {
  const texts: unknown = parsed(json);
  if (!Array.isArray(texts)) return null;
  const text = (one: unknown): string =>
    typeof one === 'string' && /^#?[0-9a-f]+$/.test(one)
      ? one
      : `"${String(one).replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
  return `{${texts
    .filter((one) => one !== null)
    .map(text)
    .join(',')}}`;
}

/** As it is where it can stand on a line of a bulk request; whoever writes to the table may have put anything there. */
function jsonText(json: string): string {
  const value = parsed(json);
  if (value === undefined) return JSON.stringify(json);
  return json.startsWith('{') && !json.includes('\n') && !json.includes('\r') ? json : JSON.stringify(value);
}

/** undefined: it is no JSON. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
