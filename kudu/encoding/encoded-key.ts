import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { type EncodedRow, OPERATION_AT } from './encoded-row.ts';
import type { GrowingBytes } from './growing-bytes.ts';
import { writeKeyCell } from './key.ts';
import { type RowLayout, rowLayout } from './row-layout.ts';

/**
 * Makes keys of encoded rows. Key columns come first in a row, are always set and never null, so their cells are always in
 * the same place.
 */
export class EncodedKeys {
  readonly #schema: Schema;
  readonly #layout: RowLayout;
  readonly #cells: number[] = [];
  #row: EncodedRow = { bytes: new Uint8Array(), start: 0, end: 0 };
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** @param schema that the rows are encoded with */
  constructor(schema: Schema) {
    this.#schema = schema;
    this.#layout = rowLayout(schema);
    let at = this.#layout.cellsAt;
    for (let index = 0; index < schema.keyCount; index++) {
      this.#cells.push(at);
      at += this.#layout.sizes[index]!;
    }
  }

  /** The row whose keys are written from now on. */
  read(row: EncodedRow): void {
    if (this.#row.bytes !== row.bytes) {
      const { buffer, byteOffset, byteLength } = row.bytes;
      this.#view = new DataView(buffer, byteOffset, byteLength);
    }
    this.#row = row;
  }

  /** Appends these columns as one key: as `writeKey` does of an object. */
  readonly write = (key: GrowingBytes, columns: readonly number[]): void => {
    const { bytes, start, end } = this.#row;
    const { sizes, refers, rowSize } = this.#layout;
    const operation = start + OPERATION_AT;
    for (let i = 0; i < columns.length; i++) {
      const index = columns[i]!;
      let from = operation + this.#cells[index]!;
      let to = from + sizes[index]!;
      if (refers[index] === 1) {
        const length = this.#view.getUint32(from + 8, true);
        from = operation + rowSize + this.#view.getUint32(from, true);
        to = from + length;
      }
      if (to > end) throw new KuduValueError('An encoded row refers to bytes that are not its own.');
      writeKeyCell(key, this.#schema.columns[index]!, bytes, from, to, i === columns.length - 1);
    }
  };
}
