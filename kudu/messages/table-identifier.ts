import { MessageWriter } from './fields.ts';

/*
 * master/master.proto
 *   TableIdentifierPB { bytes table_id = 1; string table_name = 2 }
 */
export interface TableIdentifier {
  /** Hexadecimal digits, sent as ASCII. */
  id?: string;
  name?: string;
}

export const encodeTableIdentifier = ({ id, name }: TableIdentifier): Uint8Array =>
  new MessageWriter().string(1, id).string(2, name).finish();

/** A request that names a table and nothing else: { TableIdentifierPB table = 1 }. */
export const encodeTableRequest = (table: TableIdentifier): Uint8Array =>
  new MessageWriter().bytes(1, encodeTableIdentifier(table)).finish();
