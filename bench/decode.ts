import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Piscina } from 'piscina';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { pack } from '../ingest/batch-task.ts';
import { enlarge, readPhotos, writePhotos } from './photo-files.ts';
import { amount, type BenchResult, compare, median, printResult, printTable } from './result.ts';

const LARGE = { width: 2000, height: 1500 };
/** So that a measurement lasts seconds. */
const SMALL_PASSES = 10;

interface DecodeOptions {
  photos: string;
  large: string;
  python: string;
  runs: string;
}

export const decodeCommand: RegisterCommand = (program) => {
  program
    .command('decode')
    .description('JPEGs to pixels on all cores: small photos, and large ones scaled up from them')
    .option('--photos <tar>', 'small photos', '../shared/data/cifar10/cifar10-photos.tar')
    .option('--large <n>', `how many of ${LARGE.width} × ${LARGE.height} pixels to make of them`, '1000')
    .option('--python <program>', 'a Python with the peers’ packages', 'python3')
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option('--json', 'end with one line of JSON')
    .action(async (options: DecodeOptions & { json?: boolean }) => {
      printResult(await decodeBench(commandContext(), options), options);
    });
};

/** Images/s by who decodes. */
type Part = Record<string, number>;

/** Images per second of the small photos; of all sizes in `parts`. */
async function decodeBench({ config }: CommandContext, options: DecodeOptions): Promise<BenchResult> {
  const home = await mkdtemp(join(tmpdir(), 'imagehub-bench-'));
  try {
    const small = await readPhotos(options.photos);
    note(
      `${small.length} photos; making ${options.large} of ${LARGE.width} × ${LARGE.height} pixels of them`,
    );
    const large = await enlarge(small, Number(options.large), LARGE.width, LARGE.height);
    const parts: Record<string, Part> = {};
    for (const [name, photos, passes] of [
      ['small', small, SMALL_PASSES],
      [`${LARGE.width} × ${LARGE.height}`, large, 1],
    ] as const) {
      const folder = await writePhotos(home, name, photos);
      const part = (parts[name] = await measurePart(config, photos, folder, passes, options));
      const rows = Object.entries(part).map(([who, rate]) => [
        who,
        amount(rate),
        who === 'imagehub' ? '' : `${(part.imagehub! / rate).toFixed(2)} ×`,
      ]);
      printTable([`${photos.length} × ${name}, images/s`, '', 'ours is better by'], rows);
    }
    const { imagehub, ...others } = parts.small!;
    const peers = Object.entries(others).map(([name, value]) => ({ name, value }));
    return compare('decode', 'images/s', 'more', imagehub!, peers, { parts });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function measurePart(
  config: Config,
  photos: Buffer[],
  folder: string,
  passes: number,
  { python, runs }: DecodeOptions,
): Promise<Part> {
  const rates: Record<string, number[]> = { imagehub: [] };
  for (let run = 1; run <= Number(runs); run++) {
    const output = await runPython(python, folder, passes);
    const ours = await decodeAll(config, photos, passes);
    rates.imagehub!.push(ours.rate);
    for (const [, pool, rate, pixels] of output.matchAll(/(\w+) (\d+) images\/s (\d+) pixels/g)) {
      if (Number(pixels) !== ours.pixels)
        throw new HubError('STACK_FAILED', `OpenCV saw ${pixels} pixels, we saw ${ours.pixels}.`);
      (rates[`OpenCV, ${pool}`] ??= []).push(Number(rate));
    }
  }
  return Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, median(values)]));
}

/** @returns what bench/peers/python_decode.py printed */
async function runPython(python: string, folder: string, passes: number): Promise<string> {
  const script = fileURLToPath(new URL('./peers/python_decode.py', import.meta.url));
  try {
    return (await promisify(execFile)(python, [script, folder, String(passes)])).stdout;
  } catch (error) {
    throw new HubError('STACK_FAILED', `OpenCV in Python failed: ${errorText(error)}`, {
      hint: 'bench/README.md says what to install for the peers.',
    });
  }
}

/** Batches of the pipeline's size go to as many threads as it has, and are decoded there as it does. */
async function decodeAll(
  { workers, batchImages, batchBytes, maxPixels }: Config,
  photos: Buffer[],
  passes: number,
): Promise<{ rate: number; pixels: number }> {
  const threads = new Piscina({
    filename: new URL('./decode-worker.ts', import.meta.url).href,
    minThreads: workers,
    maxThreads: workers,
    execArgv: [],
  });
  const batches = cut(photos, batchImages, batchBytes);
  const decodeOnce = () =>
    batches.map((batch) => {
      const packed = pack(batch);
      return threads.run({ packed, maxPixels }, { transferList: [packed.bytes.buffer] }) as Promise<number>;
    });
  try {
    await Promise.all(decodeOnce()); // for the compilers
    const began = performance.now();
    let pixels = 0;
    for (let pass = 0; pass < passes; pass++) {
      pixels = (await Promise.all(decodeOnce())).reduce((a, b) => a + b, 0);
    }
    const seconds = (performance.now() - began) / 1000;
    return { rate: Math.round((photos.length * passes) / seconds), pixels };
  } finally {
    await threads.close();
  }
}

function cut(photos: Buffer[], mostImages: number, mostBytes: number): Buffer[][] {
  const batches: Buffer[][] = [[]];
  let bytes = 0;
  for (const photo of photos) {
    const current = batches.at(-1)!;
    if (current.length > 0 && (current.length >= mostImages || bytes + photo.length > mostBytes)) {
      batches.push([photo]);
      bytes = photo.length;
    } else {
      current.push(photo);
      bytes += photo.length;
    }
  }
  return batches;
}
