import { OPERATION_AT } from '../encoding/encoded-row.ts';
import { type RowLayout, rowLayout } from '../encoding/row-layout.ts';
import type { Schema } from '../schema/schema.ts';
import type { RowBuckets } from './row-buckets.ts';

/** What `RowBucketer` put together as rows that stand for themselves again, in their old order. @returns where each ends, too */
export function looseRows(schema: Schema, { buckets }: RowBuckets): { bytes: Uint8Array; ends: Uint32Array } {
  const layout = rowLayout(schema);
  const ends = new Uint32Array(buckets.reduce((sum, { indexes }) => sum + indexes.length, 0));
  const eachRow = (look: (index: number, operation: Uint8Array, own: Uint8Array, ownAt: number) => void) => {
    for (const { indexes, rows, starts, indirectData, indirectStarts } of buckets)
      indexes.forEach((index, i) => {
        const ownAt = indirectStarts[i]!;
        const own = indirectData.subarray(ownAt, indirectStarts[i + 1]);
        look(index, rows.subarray(starts[i], starts[i + 1]), own, ownAt);
      });
  };
  eachRow((index, _, own) => (ends[index] = OPERATION_AT + layout.rowSize + own.length));
  for (let i = 1; i < ends.length; i++) ends[i]! += ends[i - 1]!;
  const bytes = new Uint8Array(ends.at(-1) ?? 0);
  const view = new DataView(bytes.buffer);
  eachRow((index, operation, own, ownAt) => {
    const start = index === 0 ? 0 : ends[index - 1]!;
    view.setUint32(start, operation.length, true);
    bytes.set(operation, start + OPERATION_AT);
    bytes.set(own, ends[index]! - own.length);
    moveReferences(layout, view, start + OPERATION_AT, -ownAt);
  });
  return { bytes, ends };
}

/** @param at of an operation */
function moveReferences(
  { sizes, refers, nullsAt, cellsAt }: RowLayout,
  view: DataView,
  at: number,
  by: number,
): void {
  const has = (bitmap: number, index: number) =>
    ((view.getUint8(bitmap + (index >> 3)) >> (index & 7)) & 1) === 1;
  let cell = at + cellsAt;
  for (let index = 0; index < sizes.length; index++) {
    if (!has(at + 1, index) || (cellsAt !== nullsAt && has(at + nullsAt, index))) continue;
    if (refers[index] === 1) view.setUint32(cell, view.getUint32(cell, true) + by, true);
    cell += sizes[index]!;
  }
}
