import { HubError } from '../errors.ts';
import { type Client, type ColumnSpec, KuduError, type Table } from '../kudu/index.ts';
import type { Queryable } from '../sql/database.ts';
import { columnSpecs } from './columns.ts';
import type { KuduCopy } from './state.ts';

/** What tells a copy's table from others of the name: nobody else writes this comment. */
const commentOf = ({ dataset, marker }: KuduCopy): string =>
  `Copy of the image dataset ${dataset}, kept in step by imagehub (${marker}).`;

/** @throws KuduError ALREADY_PRESENT, or what Kudu says */
export async function createCopyTable(db: Queryable, kudu: Client, copy: KuduCopy): Promise<Table> {
  return kudu.createTable({
    name: copy.tableName,
    columns: await columnSpecs(db),
    // Kudu takes no hash of one bucket: that is a table without partitions.
    partitions: copy.partitions > 1 ? { hash: [{ columns: ['id'], buckets: copy.partitions }] } : {},
    replicas: copy.replicas,
    comment: commentOf(copy),
  });
}

/** The copy's table, and why its rows have to be copied anew, if so. */
export interface OpenedTable {
  table: Table;
  /** null: what is in it may stay. */
  startOver: string | null;
}

/**
 * Opens the copy's table; makes it where it is missing; adds columns that it lacks because an older imagehub made it.
 * @throws HubError CONFLICT: a table of that name is there that is not ours; KuduError
 */
export async function openCopyTable(db: Queryable, kudu: Client, copy: KuduCopy): Promise<OpenedTable> {
  const table = await kudu.openTable(copy.tableName).catch((error: unknown) => {
    if (error instanceof KuduError && error.code === 'NOT_FOUND') return null;
    throw error;
  });
  if (table === null) {
    const startOver = copy.tableId === null ? 'the table is new' : 'the table was not there any more';
    return { table: await createCopyTable(db, kudu, copy), startOver };
  }
  if (!isOurs(table, copy)) throw notOurs(copy);
  const missing = (await columnSpecs(db)).filter(({ name }) => !table.schema.has(name));
  if (missing.length > 0) {
    const additions = missing.map((column) => ({ addColumn: forOldRows(column) }));
    const altered = await kudu.alterTable(copy.tableName, additions);
    return { table: altered, startOver: `new columns: ${missing.map(({ name }) => name).join(', ')}` };
  }
  return { table, startOver: table.id === copy.tableId ? null : 'the table was made anew' };
}

export const isOurs = (table: Table, copy: KuduCopy): boolean => table.comment === commentOf(copy);

/** The copy's table, to read it. @throws HubError CONFLICT: it is not ours; KuduError NOT_FOUND */
export async function openOurTable(kudu: Client, copy: KuduCopy): Promise<Table> {
  const table = await kudu.openTable(copy.tableName);
  if (!isOurs(table, copy)) throw notOurs(copy);
  return table;
}

/** Rows that are there have no value until they are copied again. */
const forOldRows = (column: ColumnSpec): ColumnSpec => ({ ...column, nullable: true });

const notOurs = ({ dataset, tableName }: KuduCopy) =>
  new HubError('CONFLICT', `Kudu’s table ${tableName} is not the copy of ${dataset} that imagehub made.`, {
    hint: `Nothing is written to it. Give it another name, or end the copy (imagehub kudu-copy drop ${dataset} --keep-table) and make one under another name (--table).`,
  });
