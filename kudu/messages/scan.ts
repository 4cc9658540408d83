import { type ColumnarRowBlock, decodeColumnarRowBlock } from './columnar-row-block.ts';
import { type ColumnPredicateMessage, encodeColumnPredicate } from './column-predicate.ts';
import { type ColumnSchemaMessage, encodeColumnSchema } from './column-schema.ts';
import { MessageWriter, readFields, readFixed64 } from './fields.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * tserver/tserver.proto
 *   ScanRequestPB    { bytes scanner_id = 1; NewScanRequestPB new_scan_request = 2; uint32 call_seq_id = 3;
 *                      uint32 batch_size_bytes = 4; bool close_scanner = 5 }
 *   NewScanRequestPB { bytes tablet_id = 1; uint64 limit = 2; repeated ColumnSchemaPB projected_columns = 4;
 *                      ReadMode read_mode = 5; fixed64 snap_timestamp = 6; fixed64 propagated_timestamp = 7;
 *                      bool cache_blocks = 10; OrderMode order_mode = 11; bytes last_primary_key = 12;
 *                      repeated ColumnPredicatePB column_predicates = 13; uint64 row_format_flags = 14;
 *                      SignedTokenPB authz_token = 15; fixed64 snap_start_timestamp = 16 }
 *   ScanResponsePB   { TabletServerErrorPB error = 1; bytes scanner_id = 2; bool has_more_results = 3;
 *                      ColumnarRowBlockPB columnar_data = 5; fixed64 snap_timestamp = 6; bytes last_primary_key = 7;
 *                      fixed64 propagated_timestamp = 9 }
 */
export interface NewScan {
  tabletId: string;
  limit: bigint | undefined;
  /** Without ids. */
  columns: readonly ColumnSchemaMessage[];
  predicates: readonly ColumnPredicateMessage[];
  readMode: ReadMode;
  /** By primary key; what `lastPrimaryKey` needs. */
  ordered: boolean;
  snapshot: bigint | undefined;
  /** Of a diff scan: only what changed between here and `snapshot`. */
  snapshotStart: bigint | undefined;
  propagatedTimestamp: bigint | undefined;
  /** Go on behind this key. */
  lastPrimaryKey: Uint8Array | undefined;
  cacheBlocks: boolean;
  /** A SignedTokenPB as the master gave it. */
  authorization: Uint8Array | undefined;
}

/** ReadMode in common.proto */
export const READ_MODES = { latest: 1, snapshot: 2, yourWrites: 3 } as const;

export type ReadMode = keyof typeof READ_MODES;

/** TabletServerFeatures in tserver.proto, of which a server must know those a request needs. */
export const COLUMN_PREDICATES = 1;
export const COLUMNAR_LAYOUT_FEATURE = 5;

/** OrderMode and RowFormatFlags */
const UNORDERED = 1;
const ORDERED = 2;
const COLUMNAR_LAYOUT = 2n;

export interface ScanResponse {
  error?: ServiceError;
  /** Undefined where the first answer was also the last. */
  scannerId: Uint8Array | undefined;
  more: boolean;
  block: ColumnarRowBlock | undefined;
  /** In the first answer to a scan of a snapshot. */
  snapshot: bigint | undefined;
  lastPrimaryKey: Uint8Array | undefined;
  propagatedTimestamp: bigint | undefined;
}

/** Opens a scanner and asks for its first rows. */
export const encodeNewScan = (scan: NewScan, batchBytes: number): Uint8Array =>
  new MessageWriter().bytes(2, newScan(scan)).uint(3, 0).uint(4, batchBytes).finish();

const newScan = (scan: NewScan): Uint8Array =>
  new MessageWriter()
    .string(1, scan.tabletId)
    .uint64(2, scan.limit)
    .all(4, scan.columns.map(encodeColumnSchema))
    .int(5, READ_MODES[scan.readMode])
    .fixed64(6, scan.snapshot)
    .fixed64(7, scan.propagatedTimestamp)
    .bool(10, scan.cacheBlocks)
    .int(11, scan.ordered ? ORDERED : UNORDERED)
    .bytes(12, scan.lastPrimaryKey)
    .all(13, scan.predicates.map(encodeColumnPredicate))
    .uint64(14, COLUMNAR_LAYOUT)
    .bytes(15, scan.authorization)
    .fixed64(16, scan.snapshotStart)
    .finish();

/** @param callSeqId one more for every answer; the same when the request is sent again */
export const encodeContinueScan = (
  scannerId: Uint8Array,
  callSeqId: number,
  batchBytes: number,
): Uint8Array => new MessageWriter().bytes(1, scannerId).uint(3, callSeqId).uint(4, batchBytes).finish();

export const encodeCloseScan = (scannerId: Uint8Array, callSeqId: number): Uint8Array =>
  new MessageWriter().bytes(1, scannerId).uint(3, callSeqId).uint(4, 0).bool(5, true).finish();

export function decodeScan(bytes: Uint8Array): ScanResponse {
  const response: ScanResponse = {
    scannerId: undefined,
    more: false,
    block: undefined,
    snapshot: undefined,
    lastPrimaryKey: undefined,
    propagatedTimestamp: undefined,
  };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => (response.scannerId = Uint8Array.from(reader.bytes())),
    3: (reader) => (response.more = reader.bool()),
    5: (reader) => (response.block = decodeColumnarRowBlock(reader.bytes())),
    6: (reader) => (response.snapshot = readFixed64(reader)),
    // A copy, or the key would keep the whole answer in memory.
    7: (reader) => (response.lastPrimaryKey = Uint8Array.from(reader.bytes())),
    9: (reader) => (response.propagatedTimestamp = readFixed64(reader)),
  });
  return response;
}
