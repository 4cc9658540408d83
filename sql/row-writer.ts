import { CopyWriter } from './binary-copy.ts';
import type { ArrangedRows } from './encoded-rows.ts';
import { type ImageRow, writeStagedRow } from './staged-rows.ts';

/** A store has its rows in so many places, by a hash of these of its key columns (kudu/partition/partition-schema.ts `HashSchema`). */
export interface RowHash {
  readonly columns: readonly number[];
  readonly buckets: number;
  readonly seed: number;
}

/** Encodes rows as a store wants them: one after the other, each for itself, so that some can be left out later. */
export interface RowWriter {
  add(row: ImageRow): void;
  /** Where the last row ends. */
  readonly length: number;
  /** All rows so far; a view on the writer's own memory. */
  bytes(): Uint8Array<ArrayBuffer>;
  /** All rows put together, where that was asked for: then they are nowhere else, and `length` and `bytes` say nothing. */
  arranged?(): ArrangedRows | null;
}

/** For Postgres: in COPY's binary format. @param memory to write into, or how many bytes of it to take */
export function copyRowWriter(memory: ArrayBuffer | number): RowWriter {
  const out = new CopyWriter(memory);
  return {
    add: (row) => writeStagedRow(out, row),
    get length() {
      return out.length;
    },
    bytes: () => out.bytes(),
  };
}
