import type { RecordBatch } from 'apache-arrow';
import type { Replica, Tablet } from '../client/tablet.ts';
import { askTabletServer } from '../client/tablet-call.ts';
import { KuduError } from '../errors.ts';
import {
  COLUMN_PREDICATES,
  COLUMNAR_LAYOUT_FEATURE,
  decodeScan,
  encodeCloseScan,
  encodeContinueScan,
  encodeNewScan,
  type ScanResponse,
} from '../messages/scan.ts';
import { decodeScannerKeepAlive, encodeScannerKeepAlive } from '../messages/scanner-keep-alive.ts';
import type { Address } from '../rpc/address.ts';
import { Deadline } from '../rpc/backoff.ts';
import { recordBatch } from './columnar.ts';
import type { ScanPlan } from './plan.ts';
import { ReplicaChoice } from './replica-choice.ts';

/** A scanner on a server. */
interface OpenScanner {
  id: Uint8Array;
  address: Address;
  /** Of the next request; sent again, a request keeps it. */
  callSeqId: number;
}

interface Part {
  response: ScanResponse;
  batch: ScannedBatch | null;
}

/** Rows, and how their memory is given back once nobody reads them any more. */
export interface ScannedBatch {
  rows: RecordBatch;
  release(): void;
}

/** How often the same request to a scanner is sent again where only its server can answer it. */
const MOST_REPEATS = 3;
/** The scan is over anyhow: nobody waits long for a server to be told so. */
const CLOSE_MS = 5000;

/**
 * Scans one tablet: opens a scanner on a replica, gets batch after batch, closes it. A fault-tolerant one goes on at
 * another replica behind the last primary key where its server was lost.
 *
 *   new ──open──▶ open ──last answer──▶ done
 *    ▲              │
 *    └──lost────────┘   (fault-tolerant only; else the scan fails)
 */
export class TabletScanner {
  readonly #plan: ScanPlan;
  readonly #tablet: Tablet;
  readonly #replicas: ReplicaChoice;
  /** For the server; whoever reads counts too, over all tablets and scanners. */
  readonly #limit: number;
  #scanner: OpenScanner | null = null;
  #lastPrimaryKey: Uint8Array | undefined;
  #done = false;
  #lastUse = 0;
  #keepAlive: NodeJS.Timeout | undefined;

  /** @param limit the most rows that are wanted of this tablet */
  constructor(plan: ScanPlan, tablet: Tablet, limit: number) {
    this.#plan = plan;
    this.#tablet = tablet;
    this.#replicas = new ReplicaChoice(plan.table, tablet, plan.settings.read === 'snapshot');
    this.#limit = limit;
  }

  /**
   * The next rows; null at the end. Not to be called again before it resolved.
   * @throws KuduError SCANNER_LOST where a scan that is not fault-tolerant lost its server; TIMEOUT; what servers answer
   */
  async next(): Promise<ScannedBatch | null> {
    const deadline = new Deadline(this.#plan.table.context.operationMs);
    while (!this.#done) {
      const { response, batch } = this.#scanner
        ? await this.#continue(this.#scanner, deadline)
        : await this.#open(deadline);
      this.#note(response);
      if (batch) return batch;
    }
    return null;
  }

  /** Ends the scanner on its server, if it has one. Never fails: a scanner that is not closed ends by itself. */
  async close(): Promise<void> {
    const scanner = this.#scanner;
    this.#done = true;
    this.#leave();
    if (!scanner) return;
    const body = encodeCloseScan(scanner.id, scanner.callSeqId);
    await this.#ask(scanner.address, body, undefined, CLOSE_MS).catch(() => undefined);
  }

  async #open(deadline: Deadline): Promise<Part> {
    for (let attempt = 1, last: unknown; ; attempt++) {
      const timeoutMs = deadline.left('Scan', last, this.#plan.table.context.attemptMs);
      let replica: Replica | undefined;
      try {
        replica = this.#replicas.choose();
        const part = await this.#ask(replica.address, this.#newScan(), this.#features(), timeoutMs);
        if (part.response.scannerId && part.response.more)
          this.#enter({ id: part.response.scannerId, address: replica.address, callSeqId: 1 });
        return part;
      } catch (error) {
        if (!(error instanceof KuduError) || error.remedy === 'none') throw error;
        await deadline.backoff(attempt, 'Scan', error);
        await this.#mend(replica, error, deadline);
        last = error;
      }
    }
  }

  async #continue(scanner: OpenScanner, deadline: Deadline): Promise<Part> {
    const { context } = this.#plan.table;
    const { batchBytes } = this.#plan.settings;
    for (let attempt = 1, repeats = 0, last: KuduError | undefined; ; attempt++) {
      const timeoutMs = deadline.left('Scan', last, context.attemptMs);
      try {
        const body = encodeContinueScan(scanner.id, scanner.callSeqId, batchBytes);
        const part = await this.#ask(scanner.address, body, undefined, timeoutMs);
        scanner.callSeqId++;
        return part;
      } catch (error) {
        if (!(error instanceof KuduError)) throw error;
        const waits = error.remedy === 'wait' || error.remedy === 'new token';
        // Sent again, a request is answered, unless it had been carried out and its answer was lost.
        const repeated = error.remedy === 'other replica' && !this.#reopens && repeats++ < MOST_REPEATS;
        if (!waits && !repeated) {
          if (!isLost(error) && !last) throw error;
          return await this.#reopen(scanner, last ?? error, deadline);
        }
        if (error.remedy === 'new token') await this.#plan.table.renewAuthorization(deadline);
        await deadline.backoff(attempt, 'Scan', error);
        last = error;
      }
    }
  }

  /** Its scanner is gone: another one goes on behind the last row. @throws KuduError SCANNER_LOST if that cannot be */
  async #reopen(scanner: OpenScanner, error: KuduError, deadline: Deadline): Promise<Part> {
    this.#leave();
    if (!this.#reopens)
      throw new KuduError(
        'SCANNER_LOST',
        `The scan of tablet ${this.#tablet.id} lost its scanner, and rows may be missing: ${error.message} ` +
          'Scan again, or with faultTolerant, which goes on at another replica.',
        { cause: error, server: error.server, detail: error.detail },
      );
    if (error.remedy !== 'none') {
      const replica = this.#tablet.replicas.find(({ address }) => address === scanner.address);
      await this.#mend(replica, error, deadline);
    }
    return await this.#open(deadline);
  }

  /** Ordered scans of a snapshot can go on elsewhere. */
  get #reopens(): boolean {
    return this.#plan.settings.faultTolerant;
  }

  async #mend(replica: Replica | undefined, error: KuduError, deadline: Deadline): Promise<void> {
    if (error.remedy === 'new token') await this.#plan.table.renewAuthorization(deadline);
    else await this.#replicas.failed(replica, error, deadline);
  }

  #newScan(): Uint8Array {
    const { table, settings, columns, predicateMessages, snapshot } = this.#plan;
    return encodeNewScan(
      {
        tabletId: this.#tablet.id,
        limit: this.#limit === Infinity ? undefined : BigInt(this.#limit),
        columns,
        predicates: predicateMessages,
        readMode: settings.read,
        ordered: settings.faultTolerant || settings.changedSince !== undefined,
        snapshot,
        snapshotStart: settings.changedSince,
        propagatedTimestamp: table.context.timestamp.latest,
        lastPrimaryKey: this.#lastPrimaryKey,
        cacheBlocks: settings.cacheBlocks,
        authorization: table.authorization,
      },
      settings.batchBytes,
    );
  }

  #features(): number[] {
    return this.#plan.predicateMessages.length > 0
      ? [COLUMNAR_LAYOUT_FEATURE, COLUMN_PREDICATES]
      : [COLUMNAR_LAYOUT_FEATURE];
  }

  async #ask(
    address: Address,
    body: Uint8Array,
    features: readonly number[] | undefined,
    timeoutMs: number,
  ): Promise<Part> {
    const { table, projection, arrow } = this.#plan;
    let batch: ScannedBatch | null = null;
    this.#lastUse = performance.now();
    const response = await askTabletServer(
      table.context.pool,
      address,
      {
        method: 'Scan',
        body,
        features,
        decode: (answer) => {
          const decoded = decodeScan(answer.body);
          if (decoded.block && decoded.block.rows !== 0) {
            const rows = recordBatch(projection, arrow, decoded.block, answer.sidecars);
            batch = { rows, release: answer.release };
          }
          return decoded;
        },
      },
      timeoutMs,
    );
    this.#lastUse = performance.now();
    return { response, batch };
  }

  #note({ more, snapshot, lastPrimaryKey, propagatedTimestamp }: ScanResponse): void {
    const { table, settings } = this.#plan;
    table.context.timestamp.observe(propagatedTimestamp);
    table.context.timestamp.observe(snapshot);
    if (settings.read === 'snapshot') this.#plan.snapshot ??= snapshot;
    if (lastPrimaryKey && lastPrimaryKey.length > 0) this.#lastPrimaryKey = lastPrimaryKey;
    if (more) return;
    this.#done = true;
    this.#leave();
  }

  #enter(scanner: OpenScanner): void {
    this.#scanner = scanner;
    const { keepAliveMs } = this.#plan.settings;
    this.#keepAlive = setInterval(() => void this.#stayAlive(scanner, keepAliveMs), keepAliveMs);
    this.#keepAlive.unref();
  }

  #leave(): void {
    clearInterval(this.#keepAlive);
    this.#scanner = null;
  }

  /** What comes of it shows at the next request. */
  async #stayAlive({ id, address }: OpenScanner, keepAliveMs: number): Promise<void> {
    if (performance.now() - this.#lastUse < keepAliveMs / 2) return;
    const request = {
      method: 'ScannerKeepAlive',
      body: encodeScannerKeepAlive(id),
      decode: ({ body }: { body: Uint8Array }) => decodeScannerKeepAlive(body),
    };
    const { pool, attemptMs } = this.#plan.table.context;
    await askTabletServer(pool, address, request, attemptMs).catch(() => undefined);
  }
}

/** The scanner, or its server, or its tablet there, is not there any more. */
const isLost = (error: KuduError): boolean =>
  error.code === 'SCANNER_LOST' || error.remedy === 'other replica' || error.remedy === 'locate';
