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

/**
 * The shortest text of a number of 32 bits that no other one is as near to, as Postgres prints a real (Ryū, with bounds that do
 * not count and halves to even: src/common/f2s.c). Of three numbers, 2^−96, 2^87 and 2^90, it gives a digit more.
 */
export function floatText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < LARGEST_WHOLE) return BY_KIND.number(value)!;
  for (let digits = FEWEST_DIGITS; digits < MOST_DIGITS; digits++) {
    const short = rounded(value, digits);
    if (Math.fround(short) === value && !isHalfway(short, value)) return String(short);
  }
  return String(rounded(value, MOST_DIGITS));
}

/** To so many digits, halves to even. (toPrecision rounds them up.) */
function rounded(value: number, digits: number): number {
  const oneMore = value.toExponential(digits);
  const [mantissa, exponent] = oneMore.split('e') as [string, string];
  if (!mantissa.endsWith('5') || Number(oneMore) !== value) return Number(value.toPrecision(digits));
  const below = Math.trunc(Number(mantissa.replace('.', '')) / 10);
  const even = below % 2 === 0 ? below : below + Math.sign(value);
  return Number(`${even}e${Number(exponent) - digits + 1}`);
}

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** Whether a number lies in the middle between this one of 32 bits and the next. */
function isHalfway(short: number, value: number): boolean {
  if (short === value) return false;
  float[0] = value;
  bits[0]! += Math.abs(short) > Math.abs(value) ? 1 : -1;
  return short === (value + float[0]) / 2;
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
