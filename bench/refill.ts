import { Worker } from 'node:worker_threads';
import type { Hub } from '../cli/hub.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';

/** Places in `RefillTask.counts`: messages sent and taken so far, and whether to stop. */
export const [SENT, TAKEN, STOP] = [0, 1, 2];

export interface RefillTask {
  broker: string;
  topic: string;
  partitions: number;
  images: Pick<OutgoingImage, 'id' | 'bytes' | 'label'>[];
  /** With fewer than `low` messages waiting it sends until `high` do. */
  low: number;
  high: number;
  /** Shared; see SENT. */
  counts: BigInt64Array;
}

/** A topic that is being kept filled. Close with `using`. */
export interface Refill extends Disposable {
  /** How many messages have been acknowledged by Kafka. */
  readonly sent: number;
  /** Tells how many the pipeline has taken. */
  taken(count: number): void;
  /** Sends no more; resolves when what was on its way is there. */
  stop(): Promise<void>;
  /** Rejects when the broker does not take a message. */
  failed: Promise<never>;
}

/**
 * Sends the same images again and again, each to the same partition, as fast as they are taken. The requests are encoded
 * once and sent as bytes by a thread of its own: a producer that encodes every message would take as much of the processor
 * as the pipeline that is to be measured.
 */
export function refillTopic(
  { servers }: Hub,
  topic: string,
  images: OutgoingImage[],
  limits: Pick<RefillTask, 'partitions' | 'low' | 'high'>,
): Refill {
  const counts = new BigInt64Array(new SharedArrayBuffer(3 * BigInt64Array.BYTES_PER_ELEMENT));
  const task: RefillTask = {
    broker: servers.kafka![0]!,
    topic,
    images: images.map(({ id, bytes, label }) => ({ id, bytes, ...(label === undefined ? {} : { label }) })),
    counts,
    ...limits,
  };
  const thread = new Worker(new URL('./refill-thread.ts', import.meta.url), { workerData: task });
  const failed = new Promise<never>((_, reject) => thread.once('error', reject));
  failed.catch(() => undefined);
  const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()));
  const stop = () => {
    Atomics.store(counts, STOP, 1n);
    return ended;
  };
  return {
    failed,
    stop,
    get sent() {
      return Number(Atomics.load(counts, SENT));
    },
    taken: (count) => void Atomics.store(counts, TAKEN, BigInt(count)),
    [Symbol.dispose]: () => void stop(),
  };
}
