import { KuduError } from '../errors.ts';
import {
  decodeGetTableLocations,
  encodeGetTableLocations,
  type GetTableLocationsResponse,
  type TabletLocationsMessage,
} from '../messages/get-table-locations.ts';
import type { Deadline } from '../rpc/backoff.ts';
import type { Masters } from './masters.ts';
import { type Replica, replicasOf, Tablet } from './tablet.ts';

/** Tablets asked for at once. */
const BATCH = 100;
/** Somebody may add the partition that is missing: not to be believed for as long as a tablet's place. */
const GAP_MS = 1000;
const HASH_BUCKET_BYTES = 4;
const EMPTY = new Uint8Array();

/** A range of partition keys: one tablet's, or (null) a gap that no partition covers. */
interface Entry {
  start: Uint8Array;
  /** Exclusive; empty: to the end. */
  end: Uint8Array;
  tablet: Tablet | null;
  /** When it must be asked for again, by performance.now(). */
  expires: number;
}

/**
 * Where the tablets of one table are, as far as it was asked. After Kudu's TableLocationsCache.java: sorted ranges of
 * partition keys that do not overlap, gaps among them.
 */
export class TabletLocations {
  readonly #masters: Masters;
  readonly #tableId: string;
  readonly #hashBytes: number;
  #entries: Entry[] = [];
  /** Every tablet that was ever heard of, so that whoever holds one learns what is new about it. */
  readonly #tablets = new Map<string, Tablet>();
  readonly #asking = new Map<string, Promise<void>>();

  /** @param hashLevels how many buckets stand at the beginning of the table's partition keys */
  constructor(masters: Masters, tableId: string, hashLevels: number) {
    this.#masters = masters;
    this.#tableId = tableId;
    this.#hashBytes = hashLevels * HASH_BUCKET_BYTES;
  }

  /** The tablet that holds this key; null: none does; undefined: not known without asking. */
  cached(key: Uint8Array): Tablet | null | undefined {
    return this.#entry(key)?.tablet;
  }

  /**
   * The tablet that holds this partition key; null when no partition covers it.
   * @throws KuduError as Masters.call does; NOT_FOUND when there is no such table any more
   */
  async tablet(key: Uint8Array, deadline: Deadline): Promise<Tablet | null> {
    return (await this.#known(key, deadline)).tablet;
  }

  /**
   * Every tablet that holds keys from `start` (inclusive; empty: the beginning) to `end` (exclusive; empty: the end), in
   * the order of their keys; gaps are left out.
   */
  async *range(start: Uint8Array, end: Uint8Array, deadline: () => Deadline): AsyncGenerator<Tablet> {
    for (let key = start; ;) {
      const entry = await this.#known(key, deadline());
      if (entry.tablet) yield entry.tablet;
      if (entry.end.byteLength === 0) return;
      if (end.byteLength > 0 && Buffer.compare(entry.end, end) >= 0) return;
      key = entry.end;
    }
  }

  /**
   * Asks the master anew where this tablet's replicas are. The tablet itself learns it, so whoever holds it does too.
   * @throws KuduError NOT_FOUND when its partition was dropped
   */
  async refresh(tablet: Tablet, deadline: Deadline): Promise<void> {
    await this.#ask(tablet.keyStart, deadline);
    const now = this.cached(tablet.keyStart);
    if (now !== undefined && now !== tablet) {
      throw new KuduError(
        'NOT_FOUND',
        `Tablet ${tablet.id} is not there any more: its partition was dropped.`,
      );
    }
  }

  /** Asks anew from now on; the tablets themselves stay the same objects. */
  clear(): void {
    this.#entries = [];
  }

  async #known(key: Uint8Array, deadline: Deadline): Promise<Entry> {
    for (;;) {
      const entry = this.#entry(key);
      if (entry) return entry;
      deadline.left('Finding a tablet');
      await this.#ask(key, deadline);
    }
  }

  #entry(key: Uint8Array): Entry | undefined {
    const entry = this.#entries[this.#floor(key)];
    if (!entry || !covers(entry, key) || entry.expires < performance.now()) return undefined;
    return entry;
  }

  /** The last entry that begins at or before `key`; -1 when none does. */
  #floor(key: Uint8Array): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (Buffer.compare(this.#entries[middle]!.start, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** One question at a time about the same key. */
  async #ask(key: Uint8Array, deadline: Deadline): Promise<void> {
    const name = Buffer.from(key).toString('latin1');
    for (let asking; (asking = this.#asking.get(name));) {
      try {
        return await asking;
      } catch (error) {
        // Whoever asked had less time than we have: we ask ourselves.
        const hasty = error instanceof KuduError && error.code === 'TIMEOUT' && deadline.leftMs > 0;
        if (!hasty) throw error;
      }
    }
    const question = this.#request(key, deadline).finally(() => this.#asking.delete(name));
    this.#asking.set(name, question);
    return question;
  }

  async #request(key: Uint8Array, deadline: Deadline): Promise<void> {
    const split = Math.min(this.#hashBytes, key.byteLength);
    const response = await this.#masters.call({
      method: 'GetTableLocations',
      body: encodeGetTableLocations({
        table: { id: this.#tableId },
        keyStart: { hashKey: key.subarray(0, split), rangeKey: key.subarray(split) },
        most: BATCH,
      }),
      decode: decodeGetTableLocations,
      deadline,
      repeatable: true,
    });
    this.#learn(key, response);
  }

  /**
   * A key in a gap is answered with the tablet before it, so all gaps between what comes back are real ones
   * (TableLocationsCache.cacheTabletLocations).
   */
  #learn(key: Uint8Array, response: GetTableLocationsResponse): void {
    const expires = performance.now() + response.ttlMs;
    const found: Entry[] = [];
    const gapExpires = Math.min(expires, performance.now() + GAP_MS);
    const gap = (start: Uint8Array, end: Uint8Array) =>
      void found.push({ start, end, tablet: null, expires: gapExpires });
    let reached: Uint8Array | null = null;
    for (const message of response.tablets) {
      const { keyStart, keyEnd } = message.partition;
      if (reached !== null && reached.byteLength === 0) break;
      const before: Uint8Array = reached ?? EMPTY;
      const isGap: boolean = Buffer.compare(before, keyStart) < 0;
      if (isGap && (reached !== null || Buffer.compare(key, keyStart) < 0)) gap(before, keyStart);
      const tablet = this.#tablet(message, replicasOf(message, response));
      found.push({ start: keyStart, end: keyEnd, tablet, expires });
      reached = keyEnd;
    }
    const complete = response.tablets.length < BATCH;
    if (reached === null) gap(EMPTY, EMPTY);
    else if (reached.byteLength > 0 && complete) gap(reached, EMPTY);
    if (!found.some((entry) => covers(entry, key))) {
      throw new KuduError(
        'BAD_REPLY',
        'The master answered with tablets that have nothing to do with the question.',
      );
    }
    this.#replace(found);
  }

  /** The tablet we know already, with new replicas, or a new one. */
  #tablet({ tabletId, partition }: TabletLocationsMessage, replicas: readonly Replica[]): Tablet {
    const known = this.#tablets.get(tabletId);
    if (known) {
      known.update(replicas);
      return known;
    }
    const tablet = new Tablet(tabletId, partition, replicas);
    this.#tablets.set(tabletId, tablet);
    return tablet;
  }

  #replace(found: Entry[]): void {
    const { start } = found[0]!;
    const { end } = found.at(-1)!;
    const outside = this.#entries.filter(
      (entry) =>
        (entry.end.byteLength > 0 && Buffer.compare(entry.end, start) <= 0) ||
        (end.byteLength > 0 && Buffer.compare(entry.start, end) >= 0),
    );
    this.#entries = [...outside, ...found].sort((a, b) => Buffer.compare(a.start, b.start));
  }
}

const covers = ({ start, end }: Entry, key: Uint8Array): boolean =>
  Buffer.compare(start, key) <= 0 && (end.byteLength === 0 || Buffer.compare(key, end) < 0);
