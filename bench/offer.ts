import { Worker } from 'node:worker_threads';
import type { Hub } from '../cli/hub.ts';
import type { Config } from '../config.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';

export interface OfferTask {
  config: Config;
  brokers: string[];
  topic: string;
  images: Pick<OutgoingImage, 'bytes' | 'label'>[];
  /** Images per second. */
  rate: number;
  /** When image i was handed to the producer, ms since 1970 with fractions; 0: not yet. Shared. */
  times: Float64Array;
  /** How many have been. Shared. */
  sent: Int32Array;
}

/** Images that are being sent; those that have been are known by their number, which is their id too. */
export interface Offer extends Pick<OfferTask, 'times'> {
  /** How many have been handed to the producer by now. */
  readonly sent: number;
  /** Starts the pace. */
  begin(): void;
  /** Rejects when the broker does not take an image. */
  failed: Promise<never>;
}

/**
 * Sends `count` images, one request each, at an even pace: from a thread of its own, which no one else's work delays. The
 * first goes ahead, the others wait for `begin`.
 */
export function offerImages(
  { config, servers }: Hub,
  topic: string,
  images: OutgoingImage[],
  { count, rate }: { count: number; rate: number },
): Offer {
  const times = new Float64Array(new SharedArrayBuffer(count * Float64Array.BYTES_PER_ELEMENT));
  const sent = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const task: OfferTask = {
    config,
    brokers: servers.kafka!,
    topic,
    images: images
      .slice(0, count)
      .map(({ bytes, label }) => ({ bytes, ...(label === undefined ? {} : { label }) })),
    rate,
    times,
    sent,
  };
  const thread = new Worker(new URL('./offer-thread.ts', import.meta.url), { workerData: task });
  const failed = new Promise<never>((_, reject) => thread.once('error', reject));
  failed.catch(() => undefined);
  return {
    times,
    failed,
    begin: () => thread.postMessage('begin'),
    get sent() {
      return Atomics.load(sent, 0);
    },
  };
}
