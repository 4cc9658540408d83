import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import { decode, type Pixels } from '../../images/decode.ts';
import { toGrey } from '../../images/grey.ts';
import { toPgm } from '../../images/pgm.ts';
import { type DigitMessage, numberedDigit } from '../support/digit-stream.ts';
import { watchHealth } from '../support/health-watch.ts';
import { hostileImages } from '../support/hostile-images/corpus.ts';
import type { Fate, HostileImage } from '../support/hostile-images/hostile-image.ts';
import { independentPixels } from '../support/hostile-images/independent.ts';
import { runProcess, timesJoined } from '../support/ingest-process.ts';
import { judge } from '../support/judge.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { watchMemory } from '../support/memory.ts';
import { goLive, testPipeline, type TestPipeline } from '../support/pipeline.ts';

/** So that a batch is soon done, and what one image does to its neighbours would show in many of them. */
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '50' };
const PORTION = 100;
/** The dataset's and the pipeline's defaults. */
const [PGM_SIDE, BACKGROUND, MAX_PIXELS] = [256, 255, 100_000_000];
/** It takes 630; bombs that went off would take a gigabyte each, and more, two at a time. */
const MEMORY_MIB = 1600;

/** An HTTP server that counts what it is asked for. */
async function countingServer(): Promise<AsyncDisposable & { origin: string; requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url!);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

/** What became of a message. */
type Outcome =
  { fate: 'row'; pgm: Buffer; width: number; height: number } | { fate: Fate; stage: string; detail: string };

async function outcomes({ pool, dataset }: TestPipeline): Promise<Map<string, Outcome>> {
  const { rows } = await pool.query<Outcome & { id: string }>(
    `select id, 'row' as fate, image_pgm as pgm, width, height from ${dataset}`,
  );
  const { rows: letters } = await pool.query<Outcome & { id: string }>(
    `select convert_from(key, 'UTF8') as id, reason as fate, stage, detail from imagehub.dead_letters where dataset = $1`,
    [dataset],
  );
  return new Map([...rows, ...letters].map(({ id, ...outcome }) => [id, outcome as Outcome]));
}

/** What an image's row must show, known without our decoder; null: nothing else makes anything of it. */
async function otherwiseKnown({ bytes, grey }: HostileImage): Promise<Pixels | null> {
  if (!grey) return independentPixels(bytes);
  return { format: 'png', ...grey, channels: 1, bitDepth: 8, exif: null, colourSpace: null };
}

/** What is wrong with what became of an image; null: nothing. */
function problem(image: HostileImage, outcome: Outcome | undefined, shown: Pixels | null): string | null {
  if (!outcome) return 'neither a row nor a dead letter';
  if ('detail' in outcome) {
    const { fate, stage, detail } = outcome;
    if (stage !== 'decode' || !image.fates.includes(fate))
      return `a dead letter (${fate}, ${stage}: ${detail})`;
    return (image.detail ?? /./).test(detail) ? null : `a dead letter that says only: ${detail}`;
  }
  if (!image.fates.includes('row')) return 'a row';
  if (image.size && (outcome.width !== image.size[0] || outcome.height !== image.size[1])) {
    return `a row of ${outcome.width} × ${outcome.height} pixels`;
  }
  if (shown && !toPgm(toGrey(shown, BACKGROUND), PGM_SIDE).equals(outcome.pgm))
    return 'a row of other pixels';
  return null;
}

test('hundreds of hostile images among good ones: each is a row or a dead letter with its true reason, and nothing else happens', async () => {
  await using server = await countingServer();
  const images = await hostileImages(server.origin);
  const byName = new Map(images.map((image) => [image.name, image]));
  expect(byName.size).toBe(images.length);
  expect(images.length).toBeGreaterThan(700);
  const messages = images.flatMap(({ name, bytes, contentType }, n): DigitMessage[] => [
    { key: `good-${n}.png`, value: numberedDigit(n) },
    { key: name, value: bytes, ...(contentType && { headers: { 'content-type': contentType } }) },
  ]);

  await using pipeline = await testPipeline({ partitions: 2 });
  const onnx = linearModel(1);
  const model = { id: await goLive(pipeline.pool, pipeline.dataset, onnx, LINEAR_MANIFEST), onnx };
  const run = await runProcess(pipeline, SETTINGS);
  await run.says('"consuming"');
  const health = watchHealth(run.operationsUrl);
  using memory = watchMemory(run.child.pid!);
  for (let from = 0; from < messages.length; from += PORTION) {
    await pipeline.produce(messages.slice(from, from + PORTION));
  }
  await pipeline.drained();
  await health.isWell();
  await health.stop();

  // No image ended a thread, or was given up and done again in a process of its own.
  const metrics = await (await fetch(`${run.operationsUrl}/metrics`)).text();
  expect(metrics).toMatch(/^imagehub_worker_restarts_total 0$/m);
  expect(run.lines.filter((line) => line.includes('one image at a time'))).toEqual([]);
  expect(timesJoined(run)).toBe(1);
  expect(await run.kill('SIGTERM')).toBe(0);
  expect(memory.most()).toBeLessThan(MEMORY_MIB);
  expect(server.requests).toEqual([]);

  const found = await outcomes(pipeline);
  const shown = new Map<string, Pixels>();
  const problems: string[] = [];
  for (const image of images) {
    const outcome = found.get(image.name);
    const pixels = outcome?.fate === 'row' ? await otherwiseKnown(image) : null;
    if (pixels) shown.set(image.name, pixels);
    const wrong = problem(image, outcome, pixels);
    if (wrong) problems.push(`${image.name} is ${wrong}, not ${image.fates.join(' or ')}`);
  }
  expect(problems).toEqual([]);

  const key = (message: { key: Buffer | null }) => String(message.key);
  await judge(pipeline, messages, [model], {
    async pixelsOf(message) {
      const fate = byName.has(key(message)) ? found.get(key(message))!.fate : 'row';
      if (fate !== 'row') return null;
      return shown.get(key(message)) ?? (await decode(message.value!, { maxPixels: MAX_PIXELS }));
    },
    reasonOf: (message) => found.get(key(message))!.fate,
  });
});
