import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Option } from 'commander';
import { Piscina } from 'piscina';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import { type Manifest, parseManifest } from '../classifier/manifest.ts';
import type { ModelRef } from '../classifier/model-ref.ts';
import { errorText, HubError } from '../errors.ts';
import { pack } from '../ingest/batch-task.ts';
import { readPhotos, writePhotos } from './photo-files.ts';
import { amount, type BenchResult, compare, median, printResult, printTable } from './result.ts';

/** Photos of one task. */
const BATCH_IMAGES = 64;
/** Batches of each worker that do not count, as in python_photos.py. */
const WARM_UPS = 2;
/** What python_photos.py can do with them. */
const STAGES = ['preprocess', 'score'] as const;
type Stage = (typeof STAGES)[number];

interface PhotosOptions {
  photos: string;
  count: string;
  model: string;
  side: string;
  python: string;
  only?: Stage;
  runs: string;
}

export const photosCommand: RegisterCommand = (program) => {
  program
    .command('photos')
    .description('photos to a network’s input, and to its answer, beside Pillow and OpenCV with onnxruntime')
    .option('--photos <tar>', 'JPEGs', '../shared/data/cifar10/cifar10-photos.tar')
    .option('--count <n>', 'how many of them', '10000')
    .option(
      '--model <onnx>',
      'input `input` [N, 3, side, side] of (x − 127) / 128, output `logits`',
      '../shared/models/efficientnet-lite0.onnx',
    )
    .option('--side <pixels>', 'of its input; the photos are resized to it by bicubic', '128')
    .option('--python <program>', 'a Python with the peers’ packages', 'python3')
    .addOption(new Option('--only <stage>', 'one of the two').choices(STAGES))
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option('--json', 'end with one line of JSON')
    .action(async (options: PhotosOptions & { json?: boolean }) => {
      printResult(await photosBench(commandContext(), options), options);
    });
};

/** Photos per second from bytes to the network's answer, and in `stages` those from bytes to its input. */
async function photosBench(context: CommandContext, options: PhotosOptions): Promise<BenchResult> {
  const home = await mkdtemp(join(tmpdir(), 'imagehub-bench-'));
  try {
    const photos = (await readPhotos(options.photos)).slice(0, Number(options.count));
    note(`${photos.length} photos`);
    const folder = await writePhotos(home, 'photos', photos);
    const rates: Partial<Record<Stage, Record<string, number>>> = {};
    for (const stage of options.only ? [options.only] : STAGES) {
      rates[stage] = await measureStage(context, stage, photos, folder, options);
      const { imagehub, ...others } = rates[stage]!;
      const rows = Object.entries(others).map(([who, rate]) => [
        who,
        amount(rate),
        `${(imagehub! / rate).toFixed(2)} ×`,
      ]);
      printTable(
        [`${stage}, photos/s`, '', 'ours is better by'],
        [['imagehub', amount(imagehub!), ''], ...rows],
      );
    }
    const { imagehub, ...others } = (rates.score ?? rates.preprocess)!;
    const peers = Object.entries(others).map(([name, value]) => ({ name, value }));
    return compare('photos', 'photos/s', 'more', imagehub!, peers, { stages: rates });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function measureStage(
  { config }: CommandContext,
  stage: Stage,
  photos: Buffer[],
  folder: string,
  { python, model, side, runs }: PhotosOptions,
): Promise<Record<string, number>> {
  const rates: Record<string, number[]> = { imagehub: [] };
  for (let run = 1; run <= Number(runs); run++) {
    const ours = await runOurs(stage, photos, await loadModel(model, Number(side)), config);
    rates.imagehub!.push(ours.rate);
    const output = await runPython(python, [stage, folder, model, side, String(availableParallelism())]);
    for (const line of output.trim().split('\n')) {
      const { name, rate, classes } = JSON.parse(line) as { name: string; rate: number; classes: number[] };
      (rates[name] ??= []).push(rate);
      if (stage === 'score' && run === 1)
        note(`${name} and imagehub agree on ${agreement(classes, ours.classes)}`);
    }
  }
  return Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, median(values)]));
}

function agreement(a: number[], b: number[]): string {
  return `${a.filter((value, i) => value === b[i]).length} of ${b.length} photos`;
}

/** @returns what bench/peers/python_photos.py printed */
async function runPython(python: string, args: string[]): Promise<string> {
  const script = fileURLToPath(new URL('./peers/python_photos.py', import.meta.url));
  try {
    return (await promisify(execFile)(python, [script, ...args], { maxBuffer: 64 * 1024 * 1024 })).stdout;
  } catch (error) {
    throw new HubError('STACK_FAILED', `Python failed: ${errorText(error)}`, {
      hint: 'bench/README.md says what to install for the peers.',
    });
  }
}

async function loadModel(file: string, side: number): Promise<ModelRef> {
  const bytes = await readFile(file);
  const onnx = new Uint8Array(new SharedArrayBuffer(bytes.length));
  onnx.set(bytes);
  return { id: 1, onnx, manifest: manifest(side) };
}

/** As the README of EfficientNet-Lite0 says; for each photo one of 1,000 classes comes out. */
function manifest(side: number): Manifest {
  const [mean, std] = [127 / 255, 128 / 255];
  return parseManifest({
    input: {
      name: 'input',
      layout: 'NCHW',
      width: side,
      height: side,
      channels: 3,
      colour: 'rgb',
      scaling: { kind: 'mean-std', mean: [mean, mean, mean], std: [std, std, std] },
      resize: { fit: 'stretch', filter: 'bicubic', antialias: true },
    },
    output: { name: 'logits', activation: 'softmax' },
    classes: Array.from({ length: 1000 }, (_, index) => String(index)),
  });
}

/** In as many threads as the pipeline has, which first do some batches each that do not count. */
async function runOurs(
  stage: Stage,
  photos: Buffer[],
  model: ModelRef,
  { workers, maxPixels }: { workers: number; maxPixels: number },
): Promise<{ rate: number; classes: number[] }> {
  const threads = new Piscina({
    filename: new URL('./photos-worker.ts', import.meta.url).href,
    minThreads: workers,
    maxThreads: workers,
    execArgv: [],
  });
  const more =
    stage === 'score' ? { model, classes: model.manifest.classes } : { input: model.manifest.input };
  const run = (batch: Buffer[]): Promise<number | number[]> => {
    const packed = pack(batch);
    return threads.run({ packed, maxPixels, ...more }, { name: stage, transferList: [packed.bytes.buffer] });
  };
  try {
    const warmUp = photos.slice(0, BATCH_IMAGES);
    for (let time = 0; time < WARM_UPS; time++)
      await Promise.all(Array.from({ length: workers }, () => run(warmUp)));
    const began = performance.now();
    const batches: Promise<number | number[]>[] = [];
    for (let at = 0; at < photos.length; at += BATCH_IMAGES)
      batches.push(run(photos.slice(at, at + BATCH_IMAGES)));
    const classes = (await Promise.all(batches)).flat();
    const seconds = (performance.now() - began) / 1000;
    return { rate: Math.round(photos.length / seconds), classes };
  } finally {
    await threads.close();
  }
}
