import { consumeDatasets } from './consume.ts';
import { classifyBacklog } from './backlog.ts';
import { carryOut } from './carry-out.ts';
import type { IngestContext } from './engine.ts';
import { watchLockWaits } from './lock-waits.ts';
import { pruneDeletions } from './prune-deletions.ts';
import { warmUp } from './warm-up.ts';

/**
 * The ingest: consumes every dataset's topic, classifies what waits for a model, forgets old deletions, carries out what
 * others left, and says whose locks it waits for. Without Kafka (the embedded mode) senders bring their images themselves,
 * and only the rest remains. Returns when the signal is aborted and everything in flight is finished.
 */
export async function runIngest(context: IngestContext, brokers: string[] | null): Promise<void> {
  const { promise: warm, resolve: tried } = Promise.withResolvers<void>();
  await Promise.all([
    brokers ? consumeDatasets(context, brokers, warm) : undefined,
    classifyBacklog(context),
    pruneDeletions(context),
    carryOut(context),
    watchLockWaits(context),
    warmUp(context, tried),
  ]);
}
