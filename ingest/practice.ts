import type { SourceMessage } from '../sql/dead-letters.ts';
import { encodeGreyPng } from '../images/png.ts';
import { taskDataset } from './batch-task.ts';
import type { IngestContext } from './engine.ts';
import type { LiveDataset } from './live-datasets.ts';

const SIDE = 28;
const PICTURES = 64;

/**
 * Lets the worker threads do what they are about to do, with pictures of our own and nothing written, until V8 has compiled
 * it: after a second of it the first 60,000 digits go through at 38,000 instead of 30,000 images/s. Joining the consumer group
 * takes longer in most clusters (`group.initial.rebalance.delay.ms` is 3 s unless set). In growing portions, so that a
 * model that takes its time holds up nobody.
 */
export async function practise(
  { config, workers, stores, signal }: IngestContext,
  { dataset, model }: LiveDataset,
  milliseconds: number,
): Promise<void> {
  const pictures = Array.from({ length: PICTURES }, (_, i) => picture(i));
  const task = {
    dataset: taskDataset(dataset),
    model,
    promotionNo: 0,
    shadow: null,
    backbone: null,
    source: { topic: '', partition: 0, epoch: 0 },
    maxPixels: config.maxPixels,
    hash: stores[dataset.store].rowHash?.(dataset.name) ?? null,
  };
  const until = performance.now() + milliseconds;
  for (let portion = 4; performance.now() < until && !signal.aborted; portion = Math.min(2 * portion, 256)) {
    const messages = Array.from({ length: portion }, (_, i): SourceMessage => ({
      offset: i,
      timestamp: Date.now(),
      // Of all lengths: eight bytes at a time are hashed.
      key: Buffer.from(`practice/${'x'.repeat(i % 8)}${i}`),
      value: pictures[i % PICTURES]!,
      headers: [['known-label', Buffer.from('0')]],
    }));
    await Promise.all(
      Array.from({ length: config.workers }, () => workers.ingest({ ...task, messages }, false)),
    );
  }
}

/** A grey disc and a V on black, each time in other places; whoever counts objects from the top meets a V as two that join. */
function picture(index: number): Buffer {
  const [x, y] = [6 + (index % 16), 6 + ((index * 7) % 16)];
  const pixels = Uint8Array.from({ length: SIDE * SIDE }, (_, at) => {
    const [right, down] = [(at % SIDE) - x, Math.floor(at / SIDE) - y];
    const isStroke = down < 8 && Math.abs(Math.abs(right) - (8 - down)) < 1;
    return Math.max(isStroke ? 200 : 0, 255 - 30 * Math.hypot(right, down + 3));
  });
  return encodeGreyPng(pixels, SIDE, SIDE);
}
