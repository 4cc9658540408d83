/**
 * A row that was encoded apart from a request (`RowEncoder`), in whatever thread. It stands for itself, so such rows can be
 * copied, left out and put together in any order:
 *
 *   u32 little-endian   bytes of the operation
 *   operation           as in a RowOperationsPB (`RowLayout`); references count from where this row's own bytes begin
 *   unused              up to the size of a row with all columns set
 *   bytes               of text and binary
 */
export interface EncodedRow {
  /** May hold more than this row. */
  bytes: Uint8Array;
  start: number;
  /** Exclusive. */
  end: number;
}

/** Where the operation begins. */
export const OPERATION_AT = 4;

/** What an encoded row does not know yet, or is not to say. */
export interface CellChanges {
  /** By index of the column: the cell's bytes instead (`encodeCell`), where it is set, not null and of a fixed size. */
  cells?: readonly (Uint8Array | undefined)[];
  /** By index of the column: as if it had not been set. */
  leftOut?: readonly (boolean | undefined)[];
}

export const NO_CHANGES: CellChanges = {};
