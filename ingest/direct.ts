import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { createMetrics } from '../metrics.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { Place, SourceMessage } from '../sql/dead-letters.ts';
import { clearInFlight, markInFlight, openPartition } from '../sql/offsets.ts';
import type { Servers } from '../stack/servers.ts';
import { ChunkCutter } from './chunks.ts';
import { type IngestContext, prepareChunk, writeChunk } from './engine.ts';
import { openIngest } from './open-ingest.ts';
import { headersOf, type ImageSink, type OutgoingImage } from './senders/image.ts';

/** Not a name that a Kafka topic can have, so the two never share offsets. */
export const directTopic = (dataset: string): string => `direct/${dataset}`;

/**
 * The embedded mode: without Kafka a sender feeds the pipeline itself. The same decoding, classification, dead letters
 * and transaction; offsets are counted on in the database, so several senders at once share one sequence.
 */
export async function openDirectSink(
  config: Config,
  servers: Servers,
  dataset: Dataset,
  log: Logger,
): Promise<ImageSink> {
  const stop = new AbortController();
  const context = await openIngest({
    config,
    ...servers,
    log,
    metrics: createMetrics({ processMetrics: false }),
    signal: stop.signal,
  });
  const place: Place = { dataset: dataset.name, topic: directTopic(dataset.name), partition: 0, epoch: 0 };
  const { inFlightTo } = await openPartition(context.pool, dataset.name, place.topic, 0, 0);
  // A sender that died over its images is started again and sends them again: then they are done one by one.
  const isolateBelow = inFlightTo ?? 0;
  return {
    async send(images) {
      // Their offsets are the next ones that are free when a chunk is written.
      const messages = images.map(toMessage);
      const stretch = { dataset: dataset.name, from: 0, to: messages.length };
      using chunks = new ChunkCutter(context, messages, stretch);
      for (let chunk = await chunks.next(); chunk; chunk = await chunks.next()) {
        await sendChunk(context, place, chunk.messages, isolateBelow);
      }
    },
    async close() {
      stop.abort();
      await context[Symbol.asyncDispose]();
    },
  };
}

const toMessage = (image: OutgoingImage, offset: number): SourceMessage => ({
  offset,
  timestamp: 0,
  key: Buffer.from(image.id),
  value: image.bytes,
  headers: headersOf(image).map(([name, value]) => [name, Buffer.from(value)]),
});

/** Another sender may take the offsets meanwhile: then the images get the next ones. */
async function sendChunk(
  context: IngestContext,
  place: Place,
  given: SourceMessage[],
  isolateBelow: number,
): Promise<void> {
  const { pool } = context;
  const { dataset, topic, partition } = place;
  const timestamp = Date.now();
  for (;;) {
    const { nextOffset: from, epoch } = await openPartition(pool, dataset, topic, partition, 0);
    const here = { ...place, epoch };
    const messages = given.map((message, i): SourceMessage => ({ ...message, offset: from + i, timestamp }));
    const chunk = { messages, from, to: from + messages.length };
    const isolated = from < isolateBelow;
    await markInFlight(pool, topic, partition, chunk.to);
    try {
      const prepared = await prepareChunk(context, here, chunk, isolated);
      if (await writeChunk(context, here, chunk, prepared, { isolated })) return;
    } catch (error) {
      if (!isolated) await clearInFlight(pool, topic, partition).catch(() => undefined);
      throw error;
    }
  }
}
