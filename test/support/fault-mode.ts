import { mulberry32, type Random } from '../../classifier/train/random.ts';

/** `npm run test:faults`: the fault tests with all their rounds, minutes long. Else their short form runs. */
export const FULL = process.env.IMAGEHUB_FAULTS === 'full';

/** Of two numbers (rounds, messages, seconds) the one for this run. */
export const rounds = (short: number, full: number): number => (FULL ? full : short);

/**
 * Runs a test with random numbers that can be had again: a failure names their seed, and IMAGEHUB_FAULTS_SEED sets it.
 */
export async function withSeed(test: (random: Random) => Promise<void>): Promise<void> {
  const seed = Number(process.env.IMAGEHUB_FAULTS_SEED ?? Date.now() % 1_000_000);
  try {
    await test(mulberry32(seed));
  } catch (cause) {
    throw new Error(`failed with the seed ${seed} (again with IMAGEHUB_FAULTS_SEED=${seed})`, { cause });
  }
}
