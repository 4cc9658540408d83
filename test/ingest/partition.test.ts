import { describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PartitionLost } from '../../ingest/kafka-consumer.ts';
import { openIngest } from '../../ingest/open-ingest.ts';
import { PartitionIngest, type SourceBatch } from '../../ingest/partition.ts';
import { type Config, loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { createDataset } from '../../sql/datasets.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { startImageHost } from '../support/image-host.ts';
import { TEN } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';

const message = (offset: number): SourceMessage => ({
  offset,
  timestamp: 1_000_000 + offset,
  key: Buffer.from(`${offset}.png`),
  value: digitPng(offset % 10, offset),
  headers: [],
});

/** What a fetch from `from` on brings, up to `to`. */
const batch = (from: number, to: number): SourceBatch => ({
  fetchedOffset: from,
  endOffset: to,
  highWatermark: to,
  messages: Array.from({ length: to - from }, (_, i) => message(from + i)),
});

const beat = () => Promise.resolve();

/** A dataset without Kafka: the test hands out the batches and says what the broker would say of its topic. */
async function world(settings: Partial<Config> = {}) {
  const database = await freshDatabase();
  await createDataset(database.pool, { name: 'digits', classes: TEN });
  const topic = { low: 0, high: 0 };
  const stop = new AbortController();
  const context = await openIngest({
    config: { ...loadConfig({}), batchImages: 2, workers: 1, ...settings },
    postgres: database.url,
    log: createLogger({ logLevel: 'silent', logFormat: 'json' }),
    metrics: createMetrics({ processMetrics: false }),
    signal: stop.signal,
  });
  const place = { dataset: 'digits', topic: 'digits', partition: 0 };
  return {
    pool: database.pool,
    topic,
    /** As another process would hold it. */
    partition: () => new PartitionIngest(context, place, () => Promise.resolve({ ...topic })),
    state: async () => (await listPartitions(database.pool, 'digits'))[0]!,
    async [Symbol.asyncDispose]() {
      await context[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

describe('a partition', () => {
  test('that came back after another process went on with it is not stopped for messages that process has taken', async () => {
    await using here = await world();
    here.topic.high = 4;
    const stale = here.partition();
    expect(await stale.take(batch(0, 4), beat)).toEqual({ kind: 'continue', offset: 4 });
    here.topic.high = 10;
    expect(await here.partition().take(batch(3, 10), beat)).toEqual({ kind: 'continue', offset: 10 });
    // Retention has deleted what the stale one believes to be next.
    here.topic.low = 9;
    const advice = await stale.take(batch(9, 10), beat);
    expect(advice.kind).toBe('continue');
    expect(await here.state()).toMatchObject({ haltedReason: null, nextOffset: 10 });
  });

  test('whose last message retention deletes just now goes on behind it', async () => {
    await using here = await world();
    here.topic.high = 4;
    await here.partition().take(batch(0, 4), beat);
    const next = here.partition();
    here.topic.high = 6;
    // Opened, and about to look at message 3 again …
    expect(await next.take({ fetchedOffset: 4, endOffset: 6, highWatermark: 6, messages: [] }, beat)).toEqual(
      {
        kind: 'continue',
        offset: 3,
      },
    );
    // … which is gone: Kafka begins at 4.
    here.topic.low = 4;
    let advice = await next.take(batch(4, 6), beat);
    for (let round = 0; round < 3 && advice.kind === 'continue' && advice.offset < 6; round++) {
      advice = await next.take(batch(Math.max(advice.offset, 4), 6), beat);
    }
    expect(advice).toEqual({ kind: 'continue', offset: 6 });
  });

  test('is not taken for made anew when messages come and are taken while it is opened', async () => {
    await using here = await world();
    here.topic.high = 4;
    await here.partition().take(batch(0, 4), beat);
    // The end that the broker told lies before what another process has taken since; asked again it is further on.
    const ends = [3, 4];
    const late = here.partition();
    Object.defineProperty(here.topic, 'high', { enumerable: true, get: () => ends.shift() ?? 4 });
    expect(
      (await late.take({ fetchedOffset: 4, endOffset: 4, highWatermark: 4, messages: [] }, beat)).kind,
    ).toBe('continue');
    expect(await here.state()).toMatchObject({ haltedReason: null });
  });

  test('that is lost while it waits for an image lets go of it, keeps what it wrote, and leaves no mark', async () => {
    await using host = await startImageHost();
    const closed = Promise.withResolvers<void>();
    let answer = (): void => undefined;
    host.answers.set('/hangs', (response) => {
      answer = () => response.end(digitPng(2, 2));
      response.on('close', closed.resolve);
    });
    await using here = await world({ imageUrlHosts: [host.host], imageUrlTimeoutMs: 300_000 });
    here.topic.high = 3;
    const lost = new PartitionLost(new Error('rebalance'));
    const { messages, ...three } = batch(0, 3);
    messages[2] = {
      ...messages[2]!,
      value: null,
      headers: [['image-url', Buffer.from(host.url('/hangs'))]],
    };
    const locker = await here.pool.connect();
    const taking = here.partition().take({ ...three, messages }, async (taken) => {
      if (taken !== undefined) return;
      // The image comes while the mark is taken back, which somebody's lock makes last.
      await locker.query('begin; select from imagehub.consumer_offsets for update');
      answer();
      throw lost;
    });
    taking.catch(() => undefined);
    await closed.promise;
    await sleep(300);
    await locker.query('commit');
    locker.release();
    await expect(taking).rejects.toBe(lost);
    // For a mark that came too late to show.
    await sleep(300);
    expect(await here.state()).toMatchObject({ nextOffset: 2, inFlightTo: null });
  });

  test('that is given up between two chunks keeps what it wrote, and leaves no mark', async () => {
    await using here = await world();
    here.topic.high = 10;
    let beats = 0;
    const lost = new PartitionLost(new Error('rebalance'));
    await expect(
      here.partition().take(batch(0, 10), () => (++beats === 2 ? Promise.reject(lost) : Promise.resolve())),
    ).rejects.toBe(lost);
    expect(await here.state()).toMatchObject({ nextOffset: 4, inFlightTo: null });
    expect(await here.partition().take(batch(3, 10), beat)).toEqual({ kind: 'continue', offset: 10 });
  });

  test('that is given up before the batch that killed a process is done keeps its mark', async () => {
    await using here = await world();
    here.topic.high = 10;
    await here.partition().take(batch(0, 2), beat);
    await here.pool.query('update imagehub.consumer_offsets set in_flight_to = 8');
    const lost = new PartitionLost(new Error('rebalance'));
    await expect(here.partition().take(batch(1, 10), () => Promise.reject(lost))).rejects.toBe(lost);
    expect((await here.state()).inFlightTo).toBeGreaterThanOrEqual(8);
  });

  test('tells a topic made anew by the key of its last message', async () => {
    await using here = await world();
    here.topic.high = 4;
    await here.partition().take(batch(0, 4), beat);
    const { last } = await here.state();
    expect(last).toEqual({
      offset: 3,
      timestamp: 1_000_003,
      keyHash: createHash('sha256').update('3.png').digest(),
    });
    const other = batch(3, 6);
    other.messages[0]!.key = Buffer.from('another');
    here.topic.high = 6;
    expect(await here.partition().take(other, beat)).toMatchObject({ kind: 'halted' });
    expect((await here.state()).haltedReason).toMatch(/made anew/);
  });

  test('of messages from far in the future is known again, and what becomes of them keeps their times to the millisecond', async () => {
    await using here = await world();
    // From a producer with units of its own.
    const times = Array.from({ length: 8 }, (_, i) => Date.UTC(9000, 0, 1) + 1001 * i);
    const messages = times.map((timestamp, offset) => ({ ...message(offset), timestamp }));
    messages[2]!.value = null;
    messages[3]!.value = Buffer.from('no image');
    here.topic.high = 8;
    for (let to = 2; to <= 8; to++) {
      // Each time by another process, which looks at the last message again.
      const some = { ...batch(to - 2, to), messages: messages.slice(to - 2, to) };
      expect(await here.partition().take(some, beat)).toEqual({ kind: 'continue', offset: to });
    }
    const { rows } = await here.pool.query<{ offset: number; at: Date; exact: boolean }>(
      `select source_offset as "offset", source_timestamp as at, source_timestamp = date_trunc('milliseconds', source_timestamp) as exact
       from (select source_offset, source_timestamp from digits
             union all select source_offset, source_timestamp from imagehub.deleted_images
             union all select source_offset, source_timestamp from imagehub.dead_letters) as whatever
       order by 1`,
    );
    expect(rows).toEqual(times.map((time, offset) => ({ offset, at: new Date(time), exact: true })));
  });
});
