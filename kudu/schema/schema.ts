import { type Column, type ColumnSpec, defineColumn } from './column.ts';
import { KuduValueError } from './value-error.ts';

/** The columns of a table or of a projection, in order; the key columns of a table come first. */
export class Schema {
  readonly columns: readonly Column[];
  /** How many of the first columns are the primary key. */
  readonly keyCount: number;
  /** A row's null bitmap is there only if some column may be null. */
  readonly hasNullable: boolean;
  readonly #indexes: Map<string, number>;
  readonly #idIndexes: Map<number, number>;

  /** @throws KuduValueError for names that come twice and key columns behind others */
  constructor(columns: readonly ColumnSpec[]) {
    this.columns = columns.map(defineColumn);
    const firstOther = this.columns.findIndex(({ key }) => !key);
    this.keyCount = firstOther < 0 ? this.columns.length : firstOther;
    this.hasNullable = this.columns.some(({ nullable }) => nullable);
    this.#indexes = new Map(this.columns.map(({ name }, index) => [name, index]));
    this.#idIndexes = new Map(
      this.columns.flatMap(({ id }, index) => (id === undefined ? [] : [[id, index] as const])),
    );
    this.columns.forEach(({ name, key }, index) => {
      if (this.#indexes.get(name) !== index)
        throw new KuduValueError(`There are two columns named ${name}.`, name);
      if (key && index >= this.keyCount)
        throw new KuduValueError(`Key column ${name} is behind a column that is none.`, name);
    });
  }

  get keyColumns(): readonly Column[] {
    return this.columns.slice(0, this.keyCount);
  }

  has(name: string): boolean {
    return this.#indexes.has(name);
  }

  /** @throws KuduValueError if there is no such column */
  indexOf(name: string): number {
    const index = this.#indexes.get(name);
    if (index === undefined)
      throw new KuduValueError(
        `There is no column ${name}; there are ${this.columns.map((column) => column.name).join(', ')}.`,
        name,
      );
    return index;
  }

  /** @throws KuduValueError if there is no such column */
  column(name: string): Column {
    return this.columns[this.indexOf(name)]!;
  }

  /** By the number the server gave it. @throws KuduValueError if there is no such column */
  indexOfId(id: number): number {
    const index = this.#idIndexes.get(id);
    if (index === undefined) throw new KuduValueError(`There is no column with the id ${id}.`);
    return index;
  }

  /** These columns alone, in the order asked for. @throws KuduValueError if one is not there, or is named twice */
  project(names: readonly string[]): Schema {
    // A projection may put a key column anywhere, so none counts as one.
    return new Schema(names.map((name) => ({ ...this.column(name), key: false })));
  }
}
