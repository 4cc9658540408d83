import type { ColumnSpec } from '../kudu/index.ts';
import { Schema } from '../kudu/schema/schema.ts';
import { columnSpecs, COPY_COLUMNS, OMITTED } from '../kudu-copy/columns.ts';
import type { Queryable } from '../sql/database.ts';
import { STAGED } from '../sql/staged-rows.ts';

/**
 * What a table needs that holds images themselves, beside the columns that a copy has: what orders messages, and what keeps
 * the books right (kudu-store/write/decide.ts).
 */
const OWN_COLUMNS: readonly ColumnSpec[] = [
  { name: 'source_epoch', type: 'INT32', nullable: true, comment: 'Rises when a topic is made anew.' },
  {
    name: 'inserted',
    type: 'BOOL',
    default: false,
    comment: 'Whether the message that the row comes from put it there, or found one there and changed it.',
  },
  { name: 'classify_attempts', type: 'INT32', default: 0, comment: 'How often it could not be classified.' },
  {
    name: 'reduced_width',
    type: 'INT32',
    nullable: true,
    comment:
      'Pixels of image_base64 where it is a smaller rendition, as the image is over the limit of a cell; all else is about the image. Null: as received.',
  },
  { name: 'reduced_height', type: 'INT32', nullable: true, comment: 'See reduced_width.' },
];

/**
 * One column is named `write_fence_N` and holds nothing. Every write names all columns, and servers refuse one that names
 * a column that is not there: renaming this one ends all writes that are on their way (kudu-store/table.ts).
 */
const FENCE = /^write_fence_(\d+)$/;
const FENCE_COMMENT = 'Holds nothing. Its name changes when a writer may have died amid a write.';

/** Of all columns that hold something of an image, by name. */
export const STORE_COLUMN_TYPES: ReadonlyMap<string, string> = new Map(
  [...COPY_COLUMNS, ...OWN_COLUMNS].map(({ name, type }) => [name, type]),
);

export async function storeColumns(db: Queryable): Promise<ColumnSpec[]> {
  const shared = (await columnSpecs(db)).filter(({ name }) => name !== OMITTED);
  return [
    ...shared,
    ...OWN_COLUMNS,
    { name: 'write_fence_1', type: 'INT8', nullable: true, comment: FENCE_COMMENT },
  ];
}

/** Of those that hold something of an image, the ones that a table lacks which an earlier version made. */
export async function missingColumns(db: Queryable, schema: Schema): Promise<ColumnSpec[]> {
  const missing = new Set([...STORE_COLUMN_TYPES.keys()].filter((name) => !schema.has(name)));
  // Mostly: the database need not be asked what they are for.
  if (missing.size === 0) return [];
  return (await storeColumns(db)).filter(({ name }) => missing.has(name));
}

/** What is put in when a row is written: of these, every row has the cell in the same place. */
const PUT_IN = ['revision', 'ingested_at', 'inserted'];

/**
 * The columns that images are encoded with, wherever the table has them: what is put in behind the id, then the others in the order in
 * which they are encoded for Postgres, then those of Kudu alone.
 * @param fence as it is named now
 */
export function rowSchema(fence: string): Schema {
  const columns = new Map(
    [...COPY_COLUMNS, ...OWN_COLUMNS].map(({ name, type, nullable = false }): [string, ColumnSpec] => [
      name,
      { name, type, nullable, key: name === 'id' },
    ]),
  );
  const names = new Set(['id', ...PUT_IN, ...STAGED.map(({ name }) => name), ...columns.keys()]);
  const inOrder = [...names].map((name) => columns.get(name)!);
  return new Schema([...inOrder, { name: fence, type: 'INT8', nullable: true }]);
}

/** Of rows that worker threads encode: the fence's name does not matter there, whoever sends them knows it. */
export const ROW_SCHEMA = rowSchema('write_fence_0');

/** The fence's name now, and the next one. */
export function fenceOf(columns: readonly { name: string }[]): { now: string; next: string } | null {
  for (const { name } of columns) {
    const number = FENCE.exec(name)?.[1];
    if (number !== undefined) return { now: name, next: `write_fence_${Number(number) + 1}` };
  }
  return null;
}
