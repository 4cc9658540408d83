import { userInfo } from 'node:os';
import { KuduError } from '../errors.ts';
import { decodeDeleteTable, encodeDeleteTable } from '../messages/delete-table.ts';
import { decodeListTables, encodeListTables, type TableInfo } from '../messages/list-tables.ts';
import {
  decodeListTabletServers,
  encodeListTabletServers,
  type TabletServerEntry,
} from '../messages/list-tablet-servers.ts';
import { parseAddress } from '../rpc/address.ts';
import { Deadline } from '../rpc/backoff.ts';
import { ConnectionPool } from '../rpc/pool.ts';
import { WriteMemory } from '../encoding/write-memory.ts';
import { RequestTracker } from '../write/request-tracker.ts';
import { Session, type SessionOptions } from '../write/session.ts';
import { type Alteration, alterTable } from './alter-table.ts';
import type { ClientContext } from './context.ts';
import { createTable, type TableSpec } from './create-table.ts';
import { LatestTimestamp } from './latest-timestamp.ts';
import { Masters } from './masters.ts';
import { requestTable, Table } from './table.ts';

export interface ClientOptions {
  /** `host` or `host:port` (7051) of the cluster's masters; those that are not named are found, if one of these leads. */
  masters: string[];
  /** Who we say we are; default: the user of this process. Servers without Kerberos believe it. */
  user?: string;
  /** Milliseconds for an operation with all its attempts, at most 10 minutes; default 30,000. */
  operationMs?: number;
  /** Milliseconds for one attempt before another server is asked; default 10,000. */
  attemptMs?: number;
  /** Milliseconds to connect to a server; default 5,000. */
  connectMs?: number;
}

const OPERATION_MS = 30_000;
const ATTEMPT_MS = 10_000;
const CONNECT_MS = 5_000;
/** Servers remember the answers to writes for this long: what is tried for longer might be done twice. */
const LONGEST_OPERATION_MS = 600_000;

/**
 * Connects to a cluster.
 * @throws KuduError UNREACHABLE, TIMEOUT: no master answers, or none leads; NOT_AUTHORIZED: the cluster demands Kerberos or
 * TLS; BAD_REPLY: that is no Kudu master; INVALID_ARGUMENT: bad options
 */
export async function connect(options: ClientOptions): Promise<Client> {
  const client = new Client(options);
  try {
    await client.context.masters.leader(new Deadline(client.context.operationMs));
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

/** A connection to a Kudu cluster: `connect` makes one, and any number of operations share it. */
export class Client implements Disposable {
  /** For the client's own parts. */
  readonly context: ClientContext;

  constructor(options: ClientOptions) {
    const { operationMs = OPERATION_MS, attemptMs = ATTEMPT_MS, connectMs = CONNECT_MS } = options;
    for (const [name, value] of Object.entries({ operationMs, attemptMs, connectMs })) {
      if (!(value > 0 && value <= LONGEST_OPERATION_MS)) {
        throw new KuduError(
          'INVALID_ARGUMENT',
          `${name} is ${value}: from 1 to ${LONGEST_OPERATION_MS} are possible.`,
        );
      }
    }
    const addresses = options.masters.map((text) => parseAddress(text));
    if (addresses.length === 0) throw new KuduError('INVALID_ARGUMENT', 'No masters are named.');
    const pool = new ConnectionPool(options.user ?? userInfo().username, connectMs);
    this.context = {
      pool,
      masters: new Masters(pool, addresses, attemptMs),
      tracker: new RequestTracker(),
      memory: new WriteMemory(),
      timestamp: new LatestTimestamp(),
      operationMs,
      attemptMs,
    };
  }

  /**
   * Creates a table, waits until its tablets are there, and opens it.
   * @throws KuduError ALREADY_PRESENT, INVALID_ARGUMENT, NOT_SUPPORTED, UNKNOWN_OUTCOME (the master's answer was lost);
   * KuduValueError for columns and bounds that cannot be
   */
  async createTable(spec: TableSpec): Promise<Table> {
    const deadline = this.#deadline();
    const id = await createTable(this.context, spec, deadline);
    return new Table(this.context, await requestTable(this.context, { id }, deadline));
  }

  /** @throws KuduError NOT_FOUND */
  async openTable(name: string): Promise<Table> {
    return new Table(this.context, await requestTable(this.context, { name }, this.#deadline()));
  }

  /**
   * Alters a table, waits until every tablet knows it, and opens it anew.
   * @throws KuduError NOT_FOUND, ALREADY_PRESENT, INVALID_ARGUMENT, UNKNOWN_OUTCOME
   */
  async alterTable(name: string, alterations: readonly Alteration[]): Promise<Table> {
    await alterTable(this.context, name, alterations, this.#deadline());
    const renamed = alterations.findLast((one) => 'renameTable' in one);
    return this.openTable(renamed?.renameTable ?? name);
  }

  /** @throws KuduError NOT_FOUND, UNKNOWN_OUTCOME */
  async deleteTable(name: string): Promise<void> {
    await this.context.masters.call({
      method: 'DeleteTable',
      body: encodeDeleteTable({ name }),
      decode: decodeDeleteTable,
      deadline: this.#deadline(),
      repeatable: false,
    });
  }

  /** The tables, by name. @param nameFilter only those whose names contain it */
  async listTables(nameFilter?: string): Promise<TableInfo[]> {
    const { tables } = await this.context.masters.call({
      method: 'ListTables',
      body: encodeListTables(nameFilter),
      decode: decodeListTables,
      deadline: this.#deadline(),
      repeatable: true,
    });
    return tables.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The tablet servers that ever reported to the master, with the time since they last did. */
  async listTabletServers(): Promise<TabletServerEntry[]> {
    const { servers } = await this.context.masters.call({
      method: 'ListTabletServers',
      body: encodeListTabletServers(),
      decode: decodeListTabletServers,
      deadline: this.#deadline(),
      repeatable: true,
    });
    return servers;
  }

  /**
   * A hybrid time behind everything that this client wrote and read so far: a scan of this snapshot shows it. Undefined
   * before the first write or read.
   */
  get latestTimestamp(): bigint | undefined {
    const { latest } = this.context.timestamp;
    return latest === undefined ? undefined : latest + 1n;
  }

  /** Begins to collect writes. */
  session(options: SessionOptions = {}): Session {
    return new Session(this.context, options);
  }

  /** Closes every connection. What is in flight fails with CLOSED; sessions are flushed first by whoever cares. */
  close(): void {
    this.context.pool.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #deadline(): Deadline {
    return new Deadline(this.context.operationMs);
  }
}
