import type { Schema as ArrowSchema } from 'apache-arrow';
import type { ClientContext } from '../client/context.ts';
import { columnReference } from '../client/column-message.ts';
import type { TabletOwner } from '../client/tablet-call.ts';
import { encodeCell } from '../encoding/cell.ts';
import { type ColumnPredicate, predicatesOf } from '../encoding/predicates.ts';
import type { ColumnPredicateMessage } from '../messages/column-predicate.ts';
import type { ColumnSchemaMessage } from '../messages/column-schema.ts';
import type { PartitionSchema } from '../partition/partition-schema.ts';
import { Schema } from '../schema/schema.ts';
import { arrowSchema } from './arrow-schema.ts';
import { type ScanOptions, scanSettings, type ScanSettings } from './options.ts';

/** The table, as far as a scan needs it. */
export interface ScannedTable extends TabletOwner {
  readonly context: ClientContext;
  readonly schema: Schema;
  readonly partitionSchema: PartitionSchema;
  /** A SignedTokenPB as the master gave it last. */
  readonly authorization: Uint8Array | undefined;
}

/** A scan as all of its tablets' scanners see it. */
export interface ScanPlan {
  table: ScannedTable;
  settings: ScanSettings;
  projection: Schema;
  arrow: ArrowSchema;
  columns: readonly ColumnSchemaMessage[];
  predicates: readonly ColumnPredicate[];
  predicateMessages: readonly ColumnPredicateMessage[];
  /** The snapshot that was asked for, or that the first server chose; all tablets then have the same. */
  snapshot: bigint | undefined;
}

/** The name of the column that tells in a scan of changes whether the row was deleted. */
const IS_DELETED = 'is_deleted';

/** @throws KuduError INVALID_ARGUMENT for columns and conditions that cannot be */
export function scanPlan(table: ScannedTable, options: ScanOptions): ScanPlan {
  const settings = scanSettings(options);
  const { schema } = table;
  const chosen = schema.project(options.columns ?? schema.columns.map(({ name }) => name));
  const projection =
    settings.changedSince === undefined
      ? chosen
      : new Schema([...chosen.columns, { name: freeName(schema), type: 'IS_DELETED', default: false }]);
  const predicates = predicatesOf(schema, options.where ?? {});
  return {
    table,
    settings,
    projection,
    arrow: arrowSchema(projection),
    columns: projection.columns.map(projected),
    predicates,
    predicateMessages: predicates.flatMap(predicateMessage),
    snapshot: settings.snapshot,
  };
}

function freeName(schema: Schema): string {
  let name = IS_DELETED;
  while (schema.has(name)) name += '_';
  return name;
}

/** The virtual column has a read default; the server refuses it without one. */
const projected = (column: Schema['columns'][number]): ColumnSchemaMessage =>
  column.type === 'IS_DELETED'
    ? { ...columnReference(column), readDefault: encodeCell(column, false) }
    : columnReference(column);

function predicateMessage(predicate: ColumnPredicate): ColumnPredicateMessage[] {
  const { column, kind } = predicate;
  switch (kind) {
    case 'in':
      return [
        { column: column.name, kind, values: predicate.values.map((value) => encodeCell(column, value)) },
      ];
    case 'range': {
      const [lower, upper] = [predicate.lower, predicate.upper].map((bound) =>
        bound === undefined ? undefined : encodeCell(column, bound),
      );
      return [{ column: column.name, kind, lower, upper }];
    }
    // No tablet is asked at all.
    case 'none':
      return [];
    case 'null':
    case 'not null':
      return [{ column: column.name, kind }];
  }
}
