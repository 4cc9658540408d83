import { encodeCell } from '../encoding/cell.ts';
import { KuduError } from '../errors.ts';
import { type AlterStep, decodeAlterTable, encodeAlterTable } from '../messages/alter-table.ts';
import type { Deadline } from '../rpc/backoff.ts';
import { type Column, type ColumnSpec, defineColumn } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { COMPRESSIONS, ENCODINGS, type Compression, type Encoding } from '../schema/types.ts';
import type { KuduValue } from '../schema/values.ts';
import { columnDefinition, schemaOf } from './column-message.ts';
import type { ClientContext } from './context.ts';
import { untilDone } from './create-table.ts';
import { featuresOfColumns, MASTER_FEATURES } from './master-features.ts';
import { encodeBounds, hashMessage, type RangeSpec } from './partition-spec.ts';
import { requestTable } from './table.ts';

/** One change of a table. Several are made together or not at all. */
export type Alteration =
  /** A new column is nullable or has a default, for the rows that are there. */
  | { addColumn: ColumnSpec }
  | { dropColumn: string }
  | { renameColumn: string; to: string }
  | { alterColumn: string; set: ColumnChange }
  | { addRange: RangeSpec }
  /** With the bounds that it was made with; its rows are gone. */
  | { dropRange: RangeSpec }
  | { renameTable: string }
  | { setOwner: string }
  | { setComment: string }
  | { setExtraConfigs: Readonly<Record<string, string>> };

export interface ColumnChange {
  /** Of rows written from now on; null: none any more. */
  default?: KuduValue;
  encoding?: Encoding;
  compression?: Compression;
  blockSize?: number;
  comment?: string;
}

/** Alters a table and waits until every tablet knows it. */
export async function alterTable(
  context: ClientContext,
  name: string,
  alterations: readonly Alteration[],
  deadline: Deadline,
): Promise<void> {
  if (alterations.length === 0) return;
  const { tableId: id, columns } = await requestTable(context, { name }, deadline);
  const schema = schemaOf(columns);
  const features = featuresOfColumns(
    alterations.flatMap((one) => ('addColumn' in one ? [defineColumn(one.addColumn)] : [])),
  );
  const withRanges = alterations.some((one) => 'addRange' in one || 'dropRange' in one);
  if (withRanges) features.push(MASTER_FEATURES.ADD_DROP_RANGE_PARTITIONS);
  const columnsByName = new Map(schema.columns.map((column) => [column.name, column]));
  const steps = alterations.flatMap((one) => stepOf(schema, columnsByName, one) ?? []);
  if (steps.some((step) => step.kind === 'add range' && step.hashSchemas)) {
    features.push(MASTER_FEATURES.RANGE_SPECIFIC_HASH_SCHEMA);
  }
  await context.masters.call({
    method: 'AlterTable',
    body: encodeAlterTable({
      table: { id },
      steps,
      newName: last(alterations, 'renameTable'),
      newOwner: last(alterations, 'setOwner'),
      newComment: last(alterations, 'setComment'),
      extraConfigs: last(alterations, 'setExtraConfigs'),
      ...(withRanges && { columns: columns.map(({ id: _id, ...column }) => column) }),
    }),
    decode: decodeAlterTable,
    features,
    deadline,
    repeatable: false,
  });
  await untilDone(context, 'IsAlterTableDone', { id }, deadline);
}

type AlterationKey = Alteration extends infer A ? (A extends unknown ? keyof A : never) : never;
type ValueOf<K extends AlterationKey> = Extract<Alteration, Record<K, unknown>>[K];

/** What the last of the alterations of a kind says. */
function last<K extends AlterationKey>(alterations: readonly Alteration[], key: K): ValueOf<K> | undefined {
  const found = alterations.findLast((one) => key in one) as Record<K, ValueOf<K>> | undefined;
  return found?.[key];
}

/**
 * Undefined for what is no step but a field of the request.
 * @param columns by their names at this step, which adds what it adds or renames
 */
function stepOf(schema: Schema, columns: Map<string, Column>, one: Alteration): AlterStep | undefined {
  if ('addColumn' in one) {
    const column = defineColumn(one.addColumn);
    columns.set(column.name, column);
    return { kind: 'add column', column: columnDefinition(column) };
  }
  if ('dropColumn' in one) return { kind: 'drop column', name: one.dropColumn };
  if ('renameColumn' in one) {
    const column = columns.get(one.renameColumn);
    if (column) columns.set(one.to, column);
    return { kind: 'rename column', name: one.renameColumn, newName: one.to };
  }
  if ('alterColumn' in one) return alterColumn(columns, one.alterColumn, one.set);
  if ('addRange' in one) {
    const hashSchemas = one.addRange.hash?.map(hashMessage);
    return { kind: 'add range', bounds: encodeBounds(schema, [one.addRange]), hashSchemas };
  }
  if ('dropRange' in one) return { kind: 'drop range', bounds: encodeBounds(schema, [one.dropRange]) };
  return undefined;
}

function alterColumn(columns: ReadonlyMap<string, Column>, name: string, change: ColumnChange): AlterStep {
  const column = columns.get(name);
  if (!column) throw new KuduError('NOT_FOUND', `There is no column ${name}.`);
  const { default: value, encoding, compression } = change;
  return {
    kind: 'alter column',
    delta: {
      name,
      default: value === undefined || value === null ? undefined : encodeCell(column, value),
      removeDefault: value === null || undefined,
      encoding: encoding && ENCODINGS[encoding],
      compression: compression && COMPRESSIONS[compression],
      blockSize: change.blockSize,
      comment: change.comment,
    },
  };
}
