/**
 * A client for Apache Kudu (https://kudu.apache.org) in plain TypeScript, without native code: docs/kudu.md.
 *
 * ```ts
 * import { connect } from 'imagehub/kudu';
 *
 * using client = await connect({ masters: ['127.0.0.1:7051'] });
 * const table = await client.openTable('mnist');
 * const session = client.session();
 * session.upsert(table, { id: '7/1.png', known_label: 7 });
 * const { errors } = await session.flush();
 * for await (const batch of table.scan({ columns: ['id'], where: { known_label: 7 } })) console.log(batch.numRows);
 * ```
 */
export { type Alteration, type ColumnChange } from './client/alter-table.ts';
export { type Client, type ClientOptions, connect } from './client/client.ts';
export type { TableSpec } from './client/create-table.ts';
export { dateOfHybridTime, hybridTime } from './client/hybrid-time.ts';
export type { HashSpec, PartitionSpec, RangeSpec } from './client/partition-spec.ts';
export type { Table, TabletDescription } from './client/table.ts';
export { encodeCell } from './encoding/cell.ts';
export type { CellChanges, EncodedRow } from './encoding/encoded-row.ts';
export type { Row } from './encoding/key.ts';
export type { Condition, Where } from './encoding/predicates.ts';
export { RowEncoder } from './encoding/row-encoder.ts';
export { looseRows } from './partition/loose-rows.ts';
export { RowBucketer, type RowBuckets } from './partition/row-buckets.ts';
export type { HashSchema } from './partition/partition-schema.ts';
export { KuduError, type KuduErrorCode } from './errors.ts';
export type { TableInfo } from './messages/list-tables.ts';
export type { TabletServerEntry } from './messages/list-tablet-servers.ts';
export type { ReadMode } from './messages/scan.ts';
export type { ScanOptions } from './scan/options.ts';
export { type CellReader, cellReaders, type CellValue, rowsOf } from './scan/rows.ts';
export type { Scan } from './scan/scan.ts';
export type { Column, ColumnSpec } from './schema/column.ts';
export { Schema } from './schema/schema.ts';
export type { ColumnType, Compression, Encoding } from './schema/types.ts';
export { KuduValueError } from './schema/value-error.ts';
export type { KuduValue } from './schema/values.ts';
export { EncodedWrite, type EncodedRowError } from './write/encoded-write.ts';
export type { FlushResult, Session, SessionOptions } from './write/session.ts';
export type { RowError, WriteOperation } from './write/write-batch.ts';
