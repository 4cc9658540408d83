import { consumeDatasets } from './consume.ts';
import { classifyBacklog } from './backlog.ts';
import type { IngestContext } from './engine.ts';
import { pruneDeletions } from './prune-deletions.ts';

/**
 * The ingest: consumes every dataset's topic, classifies what waits for a model, and forgets old deletions. Without
 * Kafka (the embedded mode) senders bring their images themselves, and only the other two remain.
 * Returns when the signal is aborted and everything in flight is finished.
 */
export async function runIngest(context: IngestContext, brokers: string[] | null): Promise<void> {
  await Promise.all([
    brokers ? consumeDatasets(context, brokers) : undefined,
    classifyBacklog(context),
    pruneDeletions(context),
  ]);
}
