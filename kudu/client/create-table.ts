import { encodeCreateTable, decodeCreateTable } from '../messages/create-table.ts';
import { decodeIsDone, encodeIsDone } from '../messages/is-done.ts';
import type { TableIdentifier } from '../messages/table-identifier.ts';
import type { Deadline } from '../rpc/backoff.ts';
import type { ColumnSpec } from '../schema/column.ts';
import { Schema } from '../schema/schema.ts';
import { columnDefinition } from './column-message.ts';
import type { ClientContext } from './context.ts';
import { featuresOfColumns, MASTER_FEATURES } from './master-features.ts';
import { encodePartitions, type PartitionSpec } from './partition-spec.ts';

export interface TableSpec {
  name: string;
  /** The columns of the primary key come first. */
  columns: ColumnSpec[];
  partitions?: PartitionSpec;
  /** How many servers have each tablet, an odd number; default: the server's (usually 3). */
  replicas?: number;
  owner?: string;
  comment?: string;
  /** E.g. `{ 'kudu.table.history_max_age_sec': '3600' }`. */
  extraConfigs?: Readonly<Record<string, string>>;
}

/** Creates a table and waits until its tablets are there. @returns its id */
export async function createTable(
  context: ClientContext,
  spec: TableSpec,
  deadline: Deadline,
): Promise<string> {
  const schema = new Schema(spec.columns);
  const { partitionSchema, rangeBounds, customHash } = encodePartitions(schema, spec.partitions ?? {});
  const features = featuresOfColumns(schema.columns);
  if (rangeBounds) features.push(MASTER_FEATURES.RANGE_PARTITION_BOUNDS);
  if (customHash) features.push(MASTER_FEATURES.RANGE_SPECIFIC_HASH_SCHEMA);
  const { tableId } = await context.masters.call({
    method: 'CreateTable',
    body: encodeCreateTable({
      name: spec.name,
      columns: schema.columns.map(columnDefinition),
      partitionSchema,
      rangeBounds,
      replicas: spec.replicas,
      owner: spec.owner,
      comment: spec.comment,
      extraConfigs: spec.extraConfigs,
    }),
    decode: decodeCreateTable,
    features,
    deadline,
    repeatable: false,
  });
  await untilDone(context, 'IsCreateTableDone', { id: tableId }, deadline);
  return tableId;
}

/** The first questions are asked at once: a small table takes milliseconds. */
const FIRST_WAIT_EXPONENT = 3;

/** Asks until the master says that it is done. @throws KuduError TIMEOUT; what went wrong */
export async function untilDone(
  { masters }: ClientContext,
  method: 'IsCreateTableDone' | 'IsAlterTableDone',
  table: TableIdentifier,
  deadline: Deadline,
): Promise<void> {
  const body = encodeIsDone(table);
  for (let attempt = FIRST_WAIT_EXPONENT; ; attempt++) {
    const { done } = await masters.call({ method, body, decode: decodeIsDone, deadline, repeatable: true });
    if (done) return;
    await deadline.backoff(Math.min(attempt, 9), method);
  }
}
