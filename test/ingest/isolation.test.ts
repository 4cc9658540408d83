import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import type { BackboneRef } from '../../classifier/features/backbone.ts';
import type { ModelRef } from '../../classifier/model-ref.ts';
import { loadConfig } from '../../config.ts';
import { unpack } from '../../ingest/batch-task.ts';
import { KILLED_DECODER, processIsolated } from '../../ingest/isolation.ts';
import { Workers } from '../../ingest/workers.ts';
import { RowReader } from '../../sql/binary-rows.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { createLogger } from '../../log.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { isBusy, isolatedChildren, LOOK_EVERY_MS, signalChildren } from '../support/isolated-children.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { residentMib } from '../support/memory.ts';
import { TEN, until } from '../support/pipeline.ts';
import { slowImage } from '../support/slow-image.ts';
import { slowModel } from '../support/slow-model.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

const task = {
  dataset: {
    name: 'digits',
    store: 'postgres' as const,
    classes: TEN,
    labelFrom: 'none' as const,
    labelPattern: null,
    pgmMaxSide: 256,
    background: 255,
    columns: 'all' as const,
    stripLocation: false,
  },
  model: null,
  promotionNo: 0,
  shadow: null,
  backbone: null,
  source: { topic: 'topic', partition: 0, epoch: 0 },
  maxPixels: 1e9,
};

/** Never done where the first pixel is white: that of an odd number. */
const SLOW_MODEL = sharedModel(7, slowModel());

function sharedModel(id: number, onnx: Uint8Array): ModelRef {
  const shared = new Uint8Array(new SharedArrayBuffer(onnx.length));
  shared.set(onnx);
  return { id, onnx: shared, manifest: LINEAR_MANIFEST };
}

const messagesOf = (images: Buffer[]): SourceMessage[] =>
  images.map((value, i) => ({ offset: i, timestamp: 1000, key: Buffer.from(`${i}`), value, headers: [] }));

const isolate = (images: Buffer[], timeoutMs: number) => processIsolated(task, messagesOf(images), timeoutMs);

/** Far longer than a small image takes, on any machine; what is to take longer never ends. */
const LIMIT_MS = 4000;

/** Has not ended, whoever its parent is. */
const isThere = (pid: number): boolean => residentMib(pid) > 0;

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

/** What an encoded row says of its image's class; columns as in sql/staged-rows.ts. */
function storedVerdict(row: Uint8Array<ArrayBuffer>): { prediction: number | null; error: string | null } {
  const reader = new RowReader(row);
  reader.next();
  reader.text(); // id
  reader.text(); // base64
  reader.bytea(); // PGM
  const prediction = reader.int4();
  reader.float4(); // confidence
  reader.bytea(); // scores
  return { prediction, error: reader.text() };
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
    const shadow = { id: SLOW_MODEL.id, model: SLOW_MODEL, error: null };
    const images = [0, 2, 5, 4].map(numberedDigit);
    const result = await processIsolated({ ...task, shadow }, messagesOf(images), LIMIT_MS);
    expect(result.failures).toEqual([]);
    expect(result.rows.ends).toHaveLength(4);
    expect(result.shadow!.ends).toHaveLength(4);
    const error = expect.stringContaining('longer than 4 s');
    expect(result.shadow!.failed).toMatchObject({ count: 2, text: error });
    expect(result.accused).toEqual([{ suspect: 'shadow', id: shadow.id, error }]);

    // From now on it is not tried in this process.
    const workers = new Workers({ ...loadConfig({}), workers: 1 }, log);
    workers.guard.accuse(result.accused[0]!);
    const inThread = await workers.ingest({ ...task, shadow, messages: messagesOf(images) }, false);
    await workers.close();
    expect(inThread.rows.ends).toHaveLength(4);
    expect(inThread.shadow!.failed).toEqual({ count: 4, text: result.accused[0]!.error });
  });

  test('a backbone over which a child hangs is left out: features are missing, and nothing else', async () => {
    const { id, onnx, manifest } = SLOW_MODEL;
    const output = { name: manifest.output.name };
    const backbone: BackboneRef = {
      ...{ id, name: 'slow', sha256: 'f', onnx, features: 10, precision: 'float16' },
      manifest: { input: manifest.input, output },
    };
    const images = [0, 2, 5, 4].map(numberedDigit);
    const result = await processIsolated({ ...task, backbone }, messagesOf(images), LIMIT_MS);
    expect(result.failures).toEqual([]);
    expect(result.rows.ends).toHaveLength(4);
    expect(result.features!.ends).toHaveLength(4);
    const error = expect.stringContaining('longer than 4 s');
    expect(result.features).toMatchObject({ failed: null, missing: { count: 2, text: error } });
    expect(result.accused).toEqual([{ suspect: 'backbone', id, error }]);

    const workers = new Workers({ ...loadConfig({}), workers: 1 }, log);
    workers.backboneGuard.accuse(result.accused[0]!);
    const inThread = await workers.ingest({ ...task, backbone, messages: messagesOf(images) }, false);
    await workers.close();
    expect(inThread.features).toMatchObject({ failed: null, missing: { count: 4, text: error } });
  });

  test('a live model over which a child hangs costs that image its prediction, and no image before it anything', async () => {
    // More than a socket takes at once: it must be on its way before the child hangs.
    const noise = { type: 'gaussian', mean: 128, sigma: 40 } as const;
    const photo = await sharp({
      create: { width: 900, height: 900, channels: 3, background: 'black', noise },
    })
      .png()
      .toBuffer();
    expect(photo.length).toBeGreaterThan(500_000);
    const images = [numberedDigit(2), photo, numberedDigit(5), numberedDigit(4)];
    const { result, children } = await childrenDuring(
      processIsolated({ ...task, model: SLOW_MODEL, promotionNo: 3 }, messagesOf(images), LIMIT_MS),
    );
    expect(result.failures).toEqual([]);
    const text = expect.stringMatching(/only without this model.*longer than 4 s/);
    expect(unpack(result.rows).map(storedVerdict)).toEqual([
      { prediction: 0, error: null },
      { prediction: 0, error: null },
      { prediction: -1, error: text },
      // Left to the backlog: none waits for a model that hangs.
      { prediction: -1, error: null },
    ]);
    expect(result.classifyError).toEqual({ count: 1, text });
    expect(result.accused).toEqual([{ suspect: 'model', id: SLOW_MODEL.id, error: text }]);
    // One that hung, one for that image without the model, one for those behind.
    expect(children.size).toBe(3);

    const workers = new Workers({ ...loadConfig({}), workers: 1 }, log);
    workers.guard.accuse(result.accused[0]!);
    const inThread = await workers.ingest(
      { ...task, model: SLOW_MODEL, messages: messagesOf(images) },
      false,
    );
    await workers.close();
    expect(unpack(inThread.rows).map(storedVerdict)).toEqual(Array(4).fill({ prediction: -1, error: null }));
  });

  test('the child ends with its parent, also while it hangs', async () => {
    const file = new URL('../support/hanging-parent.ts', import.meta.url).pathname;
    const parent = spawn(process.execPath, [file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_OPTIONS: '', NODE_NO_WARNINGS: '1' },
    });
    const said = await Promise.race([once(parent.stdout, 'data'), once(parent, 'exit')]);
    expect(String(said[0])).toMatch(/answered/);
    const [child] = isolatedChildren('classifier/isolated/child', parent.pid);
    expect(child).toBeDefined();
    await sleep(500); // It is in the middle of the image.
    parent.kill('SIGKILL');
    try {
      await until(() => Promise.resolve(!isThere(child!)), 'the child is gone', 60_000);
    } finally {
      if (isThere(child!)) process.kill(child!, 'SIGKILL');
    }
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
        detail: 'It ended its process (SIGKILL).',
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
    const work = childrenDuring(isolate([digitPng(1, 1), await slowImage(), digitPng(2, 2)], LIMIT_MS));
    await signalChildren(['SIGSTOP'], 1, isBusy);
    const { result, children } = await work;
    expect(result.failures).toMatchObject([
      { index: 1, reason: KILLED_DECODER, detail: expect.stringMatching(/4 s/) },
    ]);
    expect(result.rows.ends).toHaveLength(2);
    // One that was given up, and one for the image behind.
    expect(children.size).toBe(2);
  });
});
