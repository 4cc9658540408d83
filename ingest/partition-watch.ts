import { MESSAGE_OUTCOMES, type Metrics } from '../metrics.ts';
import type { Queryable } from '../sql/database.ts';
import { listPartitions } from '../sql/offsets.ts';
import type { KafkaAdmin } from './kafka.ts';

/** A partition that the group gave to this process. */
export interface OwnPartition {
  dataset: string;
  topic: string;
  partition: number;
}

/** What no batch tells of, as none comes. */
export interface Standstill {
  /** Partitions that hold nothing any more up to `end`, although not all of it was taken. */
  emptied: (OwnPartition & { end: number })[];
  /** Partitions with messages from `offset` on that the consumer does not ask for. */
  leftBehind: (OwnPartition & { offset: number })[];
}

/**
 * A partition with messages that stays at one offset for so long, with none of them in work, is fetched from elsewhere:
 * Kafka's own offset of the group is further than the database (a backup restored, a database made anew, commits lost in a
 * crash). Longer than a batch is waited for before the next fetch; too short only means that messages are read again.
 */
const LEFT_BEHIND_MS = 5000;

/**
 * How the partitions of this process stand, as metrics: right also while nothing arrives, or while one is stopped. Those
 * that are given to others disappear, so that the sum over all processes counts each partition once.
 */
export class PartitionWatch {
  readonly #metrics: Pick<Metrics, 'consumerLag' | 'ingestHalted' | 'messages'>;
  #own: OwnPartition[] = [];
  /** Since when a partition with messages has stood where it stands, and whether that was reported. */
  #standing = new Map<OwnPartition, { offset: number; since: number; reported: boolean }>();

  constructor(metrics: Pick<Metrics, 'consumerLag' | 'ingestHalted' | 'messages'>) {
    this.#metrics = metrics;
  }

  /** From now on these are ours, and no others. */
  assigned(own: OwnPartition[]): void {
    for (const before of this.#own) {
      if (own.some((now) => now.topic === before.topic && now.partition === before.partition)) continue;
      this.#metrics.consumerLag.remove({ ...before });
      this.#metrics.ingestHalted.remove({ ...before });
    }
    this.#own = own;
    this.#standing = new Map();
    // Prometheus sees no increase in a series that begins with one: the first dead letter would raise no alarm.
    for (const { dataset } of own) {
      for (const outcome of MESSAGE_OUTCOMES) this.#metrics.messages.inc({ dataset, outcome }, 0);
    }
  }

  /** What a batch says of its partition. */
  note(topic: string, partition: number, state: { lag?: number; halted: boolean }): void {
    const own = this.#own.find((found) => found.topic === topic && found.partition === partition);
    if (!own) return;
    if (state.lag !== undefined) this.#metrics.consumerLag.set({ ...own }, state.lag);
    this.#metrics.ingestHalted.set({ ...own }, state.halted ? 1 : 0);
  }

  /**
   * Asks Kafka for the ends and the database for the offsets.
   * @param inWork whether a batch of the partition is being taken.
   * @returns partitions that need something done; one that is left behind is named once per offset.
   */
  async look(
    db: Queryable,
    admin: Pick<KafkaAdmin, 'topicOffsets'>,
    inWork: (topic: string, partition: number) => boolean,
  ): Promise<Standstill> {
    const found: Standstill = { emptied: [], leftBehind: [] };
    for (const [topic, own] of Map.groupBy(this.#own, (partition) => partition.topic)) {
      const ends = await admin.topicOffsets(topic);
      const states = await listPartitions(db, own[0]!.dataset);
      for (const place of own) {
        const { partition } = place;
        const end = ends.find((known) => known.partition === partition);
        const state = states.find((known) => known.topic === topic && known.partition === partition);
        if (!end) continue;
        const offset = state?.nextOffset ?? end.low;
        const lag = Math.max(0, end.high - offset);
        const halted = state !== undefined && state.haltedReason !== null;
        this.note(topic, partition, { lag, halted });
        if (lag === 0 || halted || inWork(topic, partition)) this.#standing.delete(place);
        else if (end.low === end.high) found.emptied.push({ ...place, end: end.high });
        else if (this.#isLeftBehind(place, offset)) found.leftBehind.push({ ...place, offset });
      }
    }
    return found;
  }

  #isLeftBehind(place: OwnPartition, offset: number): boolean {
    const before = this.#standing.get(place);
    if (before?.offset !== offset) {
      this.#standing.set(place, { offset, since: Date.now(), reported: false });
      return false;
    }
    if (before.reported || Date.now() - before.since < LEFT_BEHIND_MS) return false;
    before.reported = true;
    return true;
  }
}
