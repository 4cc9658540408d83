import { type CellChanges, encodeCell, type EncodedRow } from '../../kudu/index.ts';
import { OPERATION_AT } from '../../kudu/encoding/encoded-row.ts';
import { rowLayout } from '../../kudu/encoding/row-layout.ts';
import { decodeEncodedRow } from '../../kudu/encoding/decode-row-operations.ts';
import { ROW_SCHEMA } from '../columns.ts';
import type { RowPlan } from './decide.ts';

const INDEX = Object.fromEntries(ROW_SCHEMA.columns.map(({ name }, index) => [name, index])) as Record<
  'prediction' | 'inserted' | 'revision' | 'ingested_at' | 'known_label' | 'labelled_by' | 'labelled_at',
  number
>;

/** A person's, so not set. */
const LABEL: boolean[] = [];
for (const index of [INDEX.known_label, INDEX.labelled_by, INDEX.labelled_at]) LABEL[index] = true;

/**
 * What rows lack that worker threads encoded.
 * @param ingestedAt microseconds since 1970
 * @returns says what one is to be changed in, by what becomes of it
 */
export function changesOf(
  revision: number,
  ingestedAt: bigint,
): (plan: Pick<RowPlan, 'inserted' | 'keepsLabel'>) => CellChanges {
  const cell = (index: number, value: number | bigint | boolean) =>
    encodeCell(ROW_SCHEMA.columns[index]!, value);
  const common: Uint8Array[] = [];
  common[INDEX.revision] = cell(INDEX.revision, revision);
  common[INDEX.ingested_at] = cell(INDEX.ingested_at, ingestedAt);
  const cells = [false, true].map((inserted) => {
    const all = [...common];
    all[INDEX.inserted] = cell(INDEX.inserted, inserted);
    return all;
  });
  const changes = cells.map((all) => [{ cells: all }, { cells: all, leftOut: LABEL }] as const);
  return ({ inserted, keepsLabel }) => changes[Number(inserted)]![Number(keepsLabel)]!;
}

const LAYOUT = rowLayout(ROW_SCHEMA);

/** Whether it comes without a prediction (−1). */
export function isUnclassified({ bytes, start }: EncodedRow): boolean {
  const operation = start + OPERATION_AT;
  let at = operation + LAYOUT.cellsAt;
  for (let index = 0; index < INDEX.prediction; index++) {
    const isNull = (bytes[operation + LAYOUT.nullsAt + (index >> 3)]! >> (index & 7)) & 1;
    if (!isNull) at += LAYOUT.sizes[index]!;
  }
  // −1: all bits are set.
  return bytes[at + 3] === 0xff;
}

/** The first cell over the limit, in words; null: there is none. */
export function largeCell(row: EncodedRow, limit: number): string | null {
  if (row.end - row.start <= limit) return null;
  for (const [index, value] of decodeEncodedRow(ROW_SCHEMA, row).values) {
    const bytes = typeof value === 'string' || value instanceof Uint8Array ? Buffer.byteLength(value) : 0;
    if (bytes > limit) return `${ROW_SCHEMA.columns[index]!.name} has ${bytes} bytes`;
  }
  return null;
}
