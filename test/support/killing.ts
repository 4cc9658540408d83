import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../classifier/train/random.ts';
import { listPartitions, type PartitionState } from '../../sql/offsets.ts';
import type { IngestProcess } from './ingest-process.ts';
import type { TestPipeline } from './pipeline.ts';

/** Between two looks at a process that was not in the middle of anything, at most. */
const LOOK_AGAIN_MS = 20;
/** Far longer than a small batch takes. */
const STANDS_STILL_MS = 500;
const PATIENCE_MS = 120_000;

/** Partitions with a batch begun and not committed, each with where it stands. */
export const inFlight = async ({ pool, dataset }: TestPipeline): Promise<Set<string>> =>
  new Set((await listPartitions(pool, dataset)).filter(isInFlight).map(standing));

const isInFlight = ({ inFlightTo }: PartitionState) => inFlightTo !== null;
const standing = ({ partition, nextOffset, inFlightTo }: PartitionState) =>
  `${partition}: ${nextOffset} to ${inFlightTo}`;

/**
 * kill −9 of a process that is in the middle of a batch: it is frozen at random moments until one is found at which it
 * has begun a batch and not committed it.
 * @param before what was in flight before it began: left by others, no sign of its own work
 * @param otherProcesses true: others work too, and what is in flight is this one's only if it stands still while frozen
 */
export async function killAmidBatch(
  pipeline: TestPipeline,
  process: IngestProcess,
  random: Random,
  { before, otherProcesses }: { before: Set<string>; otherProcesses: boolean },
): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end;) {
    process.child.kill('SIGSTOP');
    let begun = (await inFlight(pipeline)).difference(before);
    if (begun.size > 0 && otherProcesses) {
      await sleep(STANDS_STILL_MS);
      begun = begun.intersection(await inFlight(pipeline));
    }
    if (begun.size > 0) {
      await process.kill('SIGKILL');
      return;
    }
    process.child.kill('SIGCONT');
    await sleep(1 + random() * LOOK_AGAIN_MS);
  }
  throw new Error('the process was never in the middle of a batch');
}
