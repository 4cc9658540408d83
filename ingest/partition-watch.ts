import { MESSAGE_OUTCOMES, type Metrics } from '../metrics.ts';
import type { Queryable } from '../sql/database.ts';
import { listPartitions, type PartitionState } from '../sql/offsets.ts';
import type { KafkaAdmin, TopicOffsets } from './kafka.ts';

/** A partition that the group gave to this process. */
export interface OwnPartition {
  dataset: string;
  topic: string;
  partition: number;
}

/** A partition that holds nothing any more, although not all of it was taken: no batch will ever tell. */
export interface EmptiedPartition extends OwnPartition {
  end: number;
}

/**
 * How the partitions of this process stand, as metrics: right also while nothing arrives, or while one is stopped. Those
 * that are given to others disappear, so that the sum over all processes counts each partition once.
 */
export class PartitionWatch {
  readonly #metrics: Pick<Metrics, 'consumerLag' | 'ingestHalted' | 'messages'>;
  #own: OwnPartition[] = [];

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

  /** Asks Kafka for the ends and the database for the offsets. @returns partitions whose messages are gone unread. */
  async look(db: Queryable, admin: Pick<KafkaAdmin, 'topicOffsets'>): Promise<EmptiedPartition[]> {
    const emptied: EmptiedPartition[] = [];
    for (const [topic, own] of Map.groupBy(this.#own, (partition) => partition.topic)) {
      const ends = await admin.topicOffsets(topic);
      const states = await listPartitions(db, own[0]!.dataset);
      for (const { dataset, partition } of own) {
        const end = ends.find((found) => found.partition === partition);
        const state = states.find((found) => found.topic === topic && found.partition === partition);
        if (!end) continue;
        const lag = Math.max(0, end.high - (state?.nextOffset ?? end.low));
        this.note(topic, partition, { lag, halted: state !== undefined && state.haltedReason !== null });
        if (state && isEmptied(state, end)) emptied.push({ dataset, topic, partition, end: end.high });
      }
    }
    return emptied;
  }
}

const isEmptied = (state: PartitionState, { low, high }: TopicOffsets): boolean =>
  low === high && state.nextOffset < low && state.haltedReason === null;
