import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { loadConfig } from '../../config.ts';
import { unpack } from '../../ingest/batch-task.ts';
import { KILLED_DECODER, processIsolated } from '../../ingest/isolation.ts';
import { Workers } from '../../ingest/workers.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { createLogger } from '../../log.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { isolatedChildren } from '../support/isolated-children.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { residentMib } from '../support/memory.ts';
import { TEN, until } from '../support/pipeline.ts';
import { slowImage } from '../support/slow-image.ts';
import { slowModel } from '../support/slow-model.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

const task = {
  dataset: {
    name: 'digits',
    classes: TEN,
    labelFrom: 'none' as const,
    labelPattern: null,
    pgmMaxSide: 256,
    background: 255,
    columns: 'all' as const,
  },
  model: null,
  promotionNo: 0,
  shadow: null,
  source: { topic: 'topic', partition: 0, epoch: 0 },
  maxPixels: 1e9,
};

const SLOW_MODEL = slowModel();

const messagesOf = (images: Buffer[]): SourceMessage[] =>
  images.map((value, i) => ({ offset: i, timestamp: 1000, key: Buffer.from(`${i}`), value, headers: [] }));

const isolate = (images: Buffer[], timeoutMs: number) => processIsolated(task, messagesOf(images), timeoutMs);

/** Between what a child has in memory when it has loaded everything (150 MiB) and amid the slow image. */
const BUSY_FROM_MIB = 300;

/** Far longer than a small image takes, also the first one in a process, and far shorter than the slow one. */
const LIMIT_MS = 600;

const LOOK_EVERY_MS = 5;

const isThere = (): boolean => true;
const isBusy = (pid: number): boolean => residentMib(pid) > BUSY_FROM_MIB;

/** Sends the signals to each new child, up to so often, as soon as it is in that state. */
async function signalChildren(
  signals: NodeJS.Signals[],
  times: number,
  inState: (pid: number) => boolean,
): Promise<void> {
  const signalled = new Set<number>();
  while (signalled.size < times) {
    for (const pid of isolatedChildren()) {
      if (signalled.has(pid) || !inState(pid)) continue;
      signalled.add(pid);
      for (const signal of signals) process.kill(pid, signal);
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** Process ids of all children there are while the work lasts. */
async function childrenDuring<T>(work: Promise<T>): Promise<{ result: T; children: Set<number> }> {
  const children = new Set<number>();
  const look = () => isolatedChildren().forEach((pid) => children.add(pid));
  const timer = setInterval(look, LOOK_EVERY_MS);
  try {
    return { result: await work, children };
  } finally {
    clearInterval(timer);
  }
}

describe('images in isolation', () => {
  test('become the same rows as in a worker thread, bad ones failures', async () => {
    const images = [digitPng(1, 1), Buffer.from('no image'), digitPng(2, 2)];
    const config = { ...loadConfig({}), workers: 1 };
    const workers = new Workers(config, log);
    const inThread = await workers.ingest({ ...task, messages: messagesOf(images) }, false);
    await workers.close();
    const isolated = await isolate(images, 30_000);
    expect(unpack(isolated.rows)).toEqual(unpack(inThread.rows));
    expect(isolated.failures).toEqual(inThread.failures);
    expect(isolated.failures).toMatchObject([{ index: 1, reason: 'not-an-image' }]);
  });

  test('a shadow over which a child hangs is left out, and costs no image; until then it predicts', async () => {
    const onnx = new Uint8Array(new SharedArrayBuffer(SLOW_MODEL.length));
    onnx.set(SLOW_MODEL);
    const shadow = { id: 7, model: { id: 7, onnx, manifest: LINEAR_MANIFEST }, error: null };
    // It is slow where the first pixel is white: that of an odd number.
    const images = [0, 2, 5, 4].map(numberedDigit);
    const result = await processIsolated({ ...task, shadow }, messagesOf(images), 4000);
    expect(result.failures).toEqual([]);
    expect(result.rows.ends).toHaveLength(4);
    expect(result.shadow!.ends).toHaveLength(4);
    expect(result.shadow!.failed).toMatchObject({
      count: 2,
      text: expect.stringContaining('longer than 4 s'),
    });
    expect(result.accused).toMatchObject({ id: 7, model: null, error: result.shadow!.failed!.text });

    // From now on it is not tried in this process.
    const workers = new Workers({ ...loadConfig({}), workers: 1 }, log);
    workers.shadowGuard.accuse(result.accused!);
    const inThread = await workers.ingest({ ...task, shadow, messages: messagesOf(images) }, false);
    await workers.close();
    expect(inThread.rows.ends).toHaveLength(4);
    expect(inThread.shadow!.failed).toEqual({ count: 4, text: result.accused!.error });
  });

  test('a child that somebody else kills costs no image', async () => {
    const work = isolate([digitPng(1, 1), await slowImage(), digitPng(2, 2)], 60_000);
    await signalChildren(['SIGKILL'], 1, isBusy);
    const { rows, failures } = await work;
    expect(failures).toEqual([]);
    expect(rows.ends).toHaveLength(3);
  });

  test('Ctrl-C, which every process of the terminal gets, does not end the child', async () => {
    const work = childrenDuring(isolate([await slowImage()], 60_000));
    await signalChildren(['SIGINT', 'SIGTERM', 'SIGHUP'], 1, isBusy);
    const { result, children } = await work;
    expect(result.failures).toEqual([]);
    // No second one had to do it.
    expect(children.size).toBe(1);
  });

  test('an image over which two children died is a failure, its neighbours are rows', async () => {
    const work = isolate([digitPng(1, 1), await slowImage(), digitPng(2, 2)], 60_000);
    await signalChildren(['SIGKILL'], 2, isBusy);
    const { rows, failures } = await work;
    expect(failures).toEqual([
      {
        index: 1,
        stage: 'decode',
        reason: KILLED_DECODER,
        detail: 'It ended the process that decoded it (SIGKILL).',
      },
    ]);
    expect(rows.ends).toHaveLength(2);
  });

  test('a child that does not come up is an error, never an image’s fault', async () => {
    const work = isolate([digitPng(1, 1)], 30_000);
    const refused = expect(work).rejects.toThrow(/did not start.*SIGKILL/);
    await signalChildren(['SIGKILL'], 1, isThere);
    await refused;
  });

  test('an image over the time limit is a failure after one try', async () => {
    const images = [digitPng(1, 1), await slowImage(), digitPng(2, 2)];
    const { result, children } = await childrenDuring(isolate(images, LIMIT_MS));
    expect(result.failures).toMatchObject([
      { index: 1, reason: KILLED_DECODER, detail: expect.stringMatching(/0\.6 s/) },
    ]);
    expect(result.rows.ends).toHaveLength(2);
    // One that was given up, and one for the image behind.
    expect(children.size).toBe(2);
  });
});

describe('a worker thread that hangs', () => {
  test('is given up, its batch is done one image at a time, and the pool goes on', async () => {
    const messages: string[] = [];
    const loud = pino({}, { write: (line: string) => void messages.push(line) });
    const workers = new Workers({ ...loadConfig({}), workers: 1, decodeTimeoutMs: LIMIT_MS }, loud);
    try {
      // Together over the limit of a batch, and each over that of one image.
      const slow = await slowImage();
      const images = [digitPng(1, 1), slow, slow, slow, slow, slow, digitPng(2, 2)];
      const { failures, rows } = await workers.ingest({ ...task, messages: messagesOf(images) }, false);
      expect(failures.map(({ index, reason }) => `${index} ${reason}`)).toEqual(
        [1, 2, 3, 4, 5].map((index) => `${index} ${KILLED_DECODER}`),
      );
      expect(rows.ends).toHaveLength(2);
      expect(messages.join()).toMatch(/doing it one image at a time/);
      // The thread still works on what was given up; once it is through, batches take it again.
      await until(
        async () => {
          messages.length = 0;
          expect(
            (await workers.ingest({ ...task, messages: messagesOf([digitPng(3, 3)]) }, false)).rows.ends,
          ).toHaveLength(1);
          return messages.length === 0;
        },
        'the thread is free again',
        200_000,
      );
    } finally {
      await workers.close();
    }
  });
});
