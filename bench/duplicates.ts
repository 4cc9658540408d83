import { HubError } from '../errors.ts';
import type { RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import { wholeNumber } from '../cli/numbers.ts';
import { mulberry32, type Random } from '../classifier/train/random.ts';
import { DEFAULT_DISTANCE } from '../duplicates/find-duplicates.ts';
import { groupDuplicates } from '../duplicates/groups.ts';
import { bitsSet, MOST_DISTANCE } from '../duplicates/near-hashes.ts';
import type { ComparedImages } from '../duplicates/nodes.ts';
import { Pace } from '../duplicates/pace.ts';
import { memoryOf } from './memory.ts';
import { amount, type BenchResult, compare, median, printResult, printTable } from './result.ts';

interface DuplicatesOptions {
  sizes: string;
  distance: string;
  bruteForce: string;
  runs: string;
}

export const duplicatesBenchCommand: RegisterCommand = (program) => {
  program
    .command('duplicates')
    .description('near-duplicate groups among perceptual hashes, beside comparing each with each')
    .option('--sizes <list>', 'numbers of hashes', '10000,100000,1000000')
    .option('--distance <bits>', 'of 64 bits', String(DEFAULT_DISTANCE))
    .option('--brute-force <n>', 'up to how many hashes each is compared with each, too', '100000')
    .option('--runs <n>', 'of each; the median counts', '3')
    .option('--json', 'end with one line of JSON')
    .action(async (options: DuplicatesOptions & { json?: boolean }) => {
      printResult(await duplicatesBench(options), options);
    });
};

interface Measured {
  hashes: number;
  seconds: number;
  /** All that the process holds, MiB: the hashes, the index, and Node itself. */
  residentMib: number;
  bruteForce: number | null;
  groups: number;
}

async function duplicatesBench(options: DuplicatesOptions): Promise<BenchResult> {
  const sizes = options.sizes.split(',').map((size) => wholeNumber('--sizes', size, 1));
  const distance = wholeNumber('--distance', options.distance, 0);
  if (distance > MOST_DISTANCE) throw new HubError('USAGE', `--distance is at most ${MOST_DISTANCE}.`);
  const most = wholeNumber('--brute-force', options.bruteForce, 0);
  const measured: Measured[] = [];
  for (const hashes of sizes) {
    note(`${amount(hashes)} hashes`);
    const compared = clustered(hashes);
    const times: number[] = [];
    let groups = 0;
    for (let run = 0; run < wholeNumber('--runs', options.runs, 1); run++) {
      const began = performance.now();
      groups = (await groupDuplicates(compared, { distance, pace: new Pace() })).groups.length;
      times.push((performance.now() - began) / 1000);
    }
    const { residentMib } = await memoryOf(process.pid);
    const bruteForce = hashes <= most ? compareEach(compared, distance) : null;
    measured.push({ hashes, seconds: median(times), residentMib, bruteForce, groups });
  }
  printTable(
    [`distance ${distance}`, 'seconds', 'resident MiB', 'each with each, seconds', 'groups'],
    measured.map(({ hashes, seconds, residentMib, bruteForce, groups }) => [
      amount(hashes),
      amount(seconds),
      amount(residentMib),
      bruteForce === null ? '' : amount(bruteForce),
      amount(groups),
    ]),
  );
  const largest = measured.filter(({ bruteForce }) => bruteForce !== null).at(-1);
  const peers = largest
    ? [{ name: `each with each, ${largest.hashes} hashes`, value: largest.bruteForce! }]
    : [];
  return compare('duplicates', 's', 'less', (largest ?? measured.at(-1)!).seconds, peers, { measured });
}

/** Of the images, one in ten is a copy of another: its hash has up to 4 bits turned on, and as many turned off. */
const COPIES = 10;
const MOST_TURNED = 4;

/** Hashes as those of photos: 32 of 64 bits set, each bit as often as any other, and some of them near to each other. */
function clustered(images: number): ComparedImages {
  const random = mulberry32(1);
  const [hi, lo] = [new Int32Array(images), new Int32Array(images)];
  const sha256 = new Uint8Array(32 * images);
  const words = new DataView(sha256.buffer);
  for (let image = 0; image < images; image++) {
    words.setUint32(32 * image, image);
    let bits = halfOfBits(random);
    if (image > 0 && image % COPIES === 0) {
      const original = Math.floor(random() * image);
      bits = bitsOf(hi[original]!, lo[original]!);
      for (let turned = Math.floor(random() * (MOST_TURNED + 1)); turned > 0; turned--) {
        bits[pick(bits, 1, random)] = 0;
        bits[pick(bits, 0, random)] = 1;
      }
    }
    for (let bit = 0; bit < 32; bit++) {
      hi[image] = (hi[image]! << 1) | bits[bit]!;
      lo[image] = (lo[image]! << 1) | bits[bit + 32]!;
    }
  }
  return { images, hi, lo, sha256, ignored: new Map(), side: null };
}

function halfOfBits(random: Random): Uint8Array {
  const bits = new Uint8Array(64);
  for (let set = 0; set < 32; set++) bits[pick(bits, 0, random)] = 1;
  return bits;
}

const bitsOf = (hi: number, lo: number): Uint8Array =>
  Uint8Array.from({ length: 64 }, (_, bit) => (bit < 32 ? hi >>> (31 - bit) : lo >>> (63 - bit)) & 1);

/** A bit that is 0, or 1. */
function pick(bits: Uint8Array, value: number, random: Random): number {
  for (;;) {
    const bit = Math.floor(64 * random());
    if (bits[bit] === value) return bit;
  }
}

/** @returns how many seconds it takes to count the pairs within the distance */
function compareEach({ images, hi, lo }: ComparedImages, distance: number): number {
  const began = performance.now();
  let pairs = 0;
  for (let a = 0; a < images; a++) {
    for (let b = a + 1; b < images; b++) {
      if (bitsSet(hi[a]! ^ hi[b]!) + bitsSet(lo[a]! ^ lo[b]!) <= distance) pairs++;
    }
  }
  note(`${amount(pairs)} pairs`);
  return (performance.now() - began) / 1000;
}
