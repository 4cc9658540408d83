// A thread that sends images at an even pace; see offer.ts.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { createLogger } from '../log.ts';
import { createSenderProducer } from '../ingest/kafka-producer.ts';
import type { OfferTask } from './offer.ts';

const { config, brokers, topic, images, rate, times, sent } = workerData as OfferTask;
const log = createLogger({ logLevel: 'warn', logFormat: 'auto' });

await using producer = await createSenderProducer(config, brokers, topic, 'none', log);
await publish(0);
await once(parentPort!, 'message');

const start = performance.now();
const unanswered = new Set<Promise<void>>();
for (let next = 1; next < times.length;) {
  const due = Math.min(times.length, 1 + Math.floor(((performance.now() - start) * rate) / 1000));
  for (; next < due; next++) {
    // Nobody waits for an answer before the next one goes out: the pace is even whatever the broker does.
    const answer: Promise<void> = publish(next).finally(() => unanswered.delete(answer));
    unanswered.add(answer);
  }
  await sleep(1);
}
await Promise.all(unanswered);

/** One request with one message, at once: kafkajs collects nothing. */
function publish(index: number): Promise<void> {
  const { bytes, label } = images[index % images.length]!;
  const headers: Record<string, string> = label === undefined ? {} : { 'known-label': label };
  const message = { key: String(index), value: Buffer.from(bytes), headers };
  times[index] = performance.timeOrigin + performance.now();
  Atomics.store(sent, 0, index + 1);
  return producer.publish([message]);
}
