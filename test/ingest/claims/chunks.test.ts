import { expect, test } from '@jest/globals';
import { loadConfig } from '../../../config.ts';
import { type Chunk, ChunkCutter } from '../../../ingest/chunks.ts';
import { isFetched } from '../../../ingest/claims/claim.ts';
import { ImageFetcher } from '../../../ingest/claims/fetcher.ts';
import { createLogger } from '../../../log.ts';
import { createMetrics } from '../../../metrics.ts';
import type { SourceMessage } from '../../../sql/dead-letters.ts';
import { Troubles } from '../../../troubles.ts';
import { type ImageHost, startImageHost } from '../../support/image-host.ts';
import { until } from '../../support/pipeline.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
const SIZE = 1000;
/** Bytes of a chunk: three images. */
const BATCH = 3 * SIZE;
const AT_ONCE = 2;
const FROM = 100;

/** Messages of which every second one is a claim, all with images of one size. */
function cutter(host: ImageHost, count: number, stop = new AbortController()) {
  const config = {
    ...loadConfig({}),
    batchBytes: BATCH,
    imageUrlHosts: [host.host],
    imageUrlFetches: AT_ONCE,
  };
  const metrics = createMetrics({ processMetrics: false });
  const fetcher = new ImageFetcher({ config, log, metrics, troubles: new Troubles(log) });
  const messages = Array.from({ length: count }, (_, i): SourceMessage => ({
    offset: FROM + i,
    timestamp: 0,
    key: Buffer.from(`${i}`),
    value: i % 2 === 0 ? Buffer.alloc(SIZE, 1) : null,
    headers: [['image-url', Buffer.from(host.url(`/${i}`))]],
  }));
  const context = { config, fetcher, metrics, signal: stop.signal };
  return new ChunkCutter(context, messages, { dataset: 'digits', from: FROM, to: FROM + count });
}

test('chunks end where fetched and carried bytes are enough, and lie end to end', async () => {
  await using host = await startImageHost();
  for (let i = 1; i < 20; i += 2) host.serve(`/${i}`, Buffer.alloc(SIZE, i));
  using chunks = cutter(host, 20);
  const all: Chunk[] = [];
  for (let chunk = await chunks.next(); chunk; chunk = await chunks.next()) all.push(chunk);
  expect(all.map(({ from, to, messages }) => [from, to, messages.length])).toEqual([
    ...[0, 3, 6, 9, 12, 15].map((start) => [FROM + start, FROM + start + 3, 3]),
    [FROM + 18, FROM + 20, 2],
  ]);
  const messages = all.flatMap((chunk) => chunk.messages);
  expect(messages.map(({ offset }) => offset)).toEqual(Array.from({ length: 20 }, (_, i) => FROM + i));
  for (const [i, message] of messages.entries()) {
    if (i % 2 === 1) expect(message).toMatchObject({ fetched: { bytes: Buffer.alloc(SIZE, i) } });
    else expect(isFetched(message)).toBe(false);
  }
  expect(await chunks.next()).toBeNull();
});

test('images are fetched ahead, but no more than fit into memory, and none once nobody wants them', async () => {
  await using host = await startImageHost();
  for (let i = 1; i < 200; i += 2) host.serve(`/${i}`, Buffer.alloc(SIZE, i));
  const asked = () => Array.from({ length: 200 }, (_, i) => host.asked(`/${i}`)).reduce((sum, n) => sum + n);
  const chunks = cutter(host, 200);
  const first = chunks.next();
  expect(first).toBeInstanceOf(Promise);
  expect((await first)!.messages).toHaveLength(3);
  await until(() => Promise.resolve(asked() === 1 + AT_ONCE), 'the next are fetched ahead', 30_000, 10);

  // One that hangs keeps those behind it from being fetched further than that.
  host.answers.set('/5', () => undefined);
  const stopped = cutter(host, 200);
  await stopped.next();
  const waiting = stopped.next();
  await until(() => Promise.resolve(host.asked('/5') === 2), 'it waits for the one that hangs', 30_000, 10);
  stopped[Symbol.dispose]();
  await expect(waiting).rejects.toThrow('aborted');
  expect(asked()).toBeLessThanOrEqual(2 * (1 + AT_ONCE) + 1);
  chunks[Symbol.dispose]();
});

test('messages that hold their image are cut at once, with nothing to wait for', () => {
  const messages = Array.from({ length: 5 }, (_, i): SourceMessage => ({
    offset: FROM + 2 * i,
    timestamp: 0,
    key: Buffer.from(`${i}`),
    value: Buffer.alloc(SIZE),
    headers: [],
  }));
  const config = { ...loadConfig({}), batchBytes: BATCH };
  const context = { config, signal: new AbortController().signal } as ConstructorParameters<
    typeof ChunkCutter
  >[0];
  const cut = (some: SourceMessage[], isolateBelow = 0) => {
    using chunks = new ChunkCutter(context, some, {
      dataset: 'digits',
      from: FROM,
      to: FROM + 20,
      isolateBelow,
    });
    const found: [from: number, to: number, messages: number][] = [];
    for (let chunk = chunks.next() as Chunk | null; chunk; chunk = chunks.next() as Chunk | null) {
      found.push([chunk.from, chunk.to, chunk.messages.length]);
    }
    return found;
  };
  expect(cut(messages)).toEqual([
    [FROM, FROM + 6, 3],
    [FROM + 6, FROM + 20, 2],
  ]);
  expect(cut(messages, FROM + 3)).toEqual([
    [FROM, FROM + 4, 2],
    [FROM + 4, FROM + 20, 3],
  ]);
  expect(cut([])).toEqual([[FROM, FROM + 20, 0]]);
});
