import {
  decodeGetTableSchema,
  encodeGetTableSchema,
  type GetTableSchemaResponse,
} from '../messages/get-table-schema.ts';
import type { TableIdentifier } from '../messages/table-identifier.ts';
import { PartitionSchema } from '../partition/partition-schema.ts';
import { addressText } from '../rpc/address.ts';
import { Deadline } from '../rpc/backoff.ts';
import type { ScanOptions } from '../scan/options.ts';
import { Scan } from '../scan/scan.ts';
import type { Schema } from '../schema/schema.ts';
import { schemaOf } from './column-message.ts';
import type { ClientContext } from './context.ts';
import { TabletLocations } from './locations.ts';
import type { TabletOwner } from './tablet-call.ts';

/** A tablet as people see it. */
export interface TabletDescription {
  id: string;
  /** One for each hash schema. */
  hashBuckets: readonly number[];
  /** Partition keys: from `keyStart` to before `keyEnd`, hexadecimal; an empty end is none. */
  keyStart: string;
  keyEnd: string;
  replicas: { server: string; address: string; leader: boolean }[];
}

/**
 * A table as it was when it was opened: whoever alters it opens it again to see the new columns. Reads and writes find its
 * tablets wherever they are by then.
 */
export class Table implements TabletOwner {
  readonly id: string;
  readonly name: string;
  readonly schema: Schema;
  readonly partitionSchema: PartitionSchema;
  /** How many servers have each tablet. */
  readonly replicas: number;
  readonly owner: string;
  readonly comment: string;
  readonly extraConfigs: Readonly<Record<string, string>>;
  /** For the client's own parts. */
  readonly context: ClientContext;
  readonly locations: TabletLocations;
  #authorization: Uint8Array | undefined;

  constructor(context: ClientContext, response: GetTableSchemaResponse) {
    this.context = context;
    this.id = response.tableId;
    this.name = response.tableName;
    this.schema = schemaOf(response.columns);
    this.partitionSchema = new PartitionSchema(this.schema, response.partitionSchema);
    this.replicas = response.replicas;
    this.owner = response.owner;
    this.comment = response.comment;
    this.extraConfigs = response.extraConfigs;
    this.locations = new TabletLocations(context.masters, this.id, this.partitionSchema.hashSchemas.length);
    this.#authorization = response.authorization;
  }

  /** What tablet servers want to see, as far as the master gave it. */
  get authorization(): Uint8Array | undefined {
    return this.#authorization;
  }

  async renewAuthorization(deadline: Deadline): Promise<void> {
    this.#authorization = (await requestTable(this.context, { id: this.id }, deadline)).authorization;
  }

  /**
   * Reads rows: `for await (const batch of table.scan({ columns, where, limit }))`.
   * @throws KuduError INVALID_ARGUMENT for columns, conditions and options that cannot be
   */
  scan(options: ScanOptions = {}): Scan {
    return new Scan(this, options);
  }

  /** Every tablet, in the order of the partition keys, with its replicas as the master knows them now. */
  async tablets(): Promise<TabletDescription[]> {
    this.locations.clear();
    const all: TabletDescription[] = [];
    const everything = new Uint8Array();
    const deadline = new Deadline(this.context.operationMs);
    for await (const tablet of this.locations.range(everything, everything, () => deadline)) {
      const { id, hashBuckets, keyStart, keyEnd, replicas } = tablet;
      all.push({
        id,
        hashBuckets,
        keyStart: Buffer.from(keyStart).toString('hex'),
        keyEnd: Buffer.from(keyEnd).toString('hex'),
        replicas: replicas.map(({ server, address, leader }) => ({
          server,
          address: addressText(address),
          leader,
        })),
      });
    }
    return all;
  }
}

/** @throws KuduError NOT_FOUND */
export const requestTable = (
  { masters }: ClientContext,
  table: TableIdentifier,
  deadline: Deadline,
): Promise<GetTableSchemaResponse> =>
  masters.call({
    method: 'GetTableSchema',
    body: encodeGetTableSchema(table),
    decode: decodeGetTableSchema,
    deadline,
    repeatable: true,
  });
