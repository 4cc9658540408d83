import { withClient } from '../sql/database.ts';
import {
  type DeadLetterFilter,
  listDeadLetters,
  readDeadLetterMessage,
  type StoredDeadLetter,
} from '../sql/dead-letters.ts';
import { type RetryOutcome, writeRetried } from '../sql/retry-dead-letter.ts';
import { ChunkCutter } from './chunks.ts';
import type { Patience } from './claims/fetcher.ts';
import { type IngestContext, prepareChunk } from './engine.ts';
import { KILLED_DECODER } from './isolation.ts';

const PAGE = 100;

/**
 * Tries dead letters again, oldest first, each in a transaction of its own; one that killed the decoder is decoded in
 * a child process again. @param onDone called after each.
 */
export async function retryDeadLetters(
  context: IngestContext,
  filter: DeadLetterFilter,
  onDone: (letter: StoredDeadLetter, outcome: RetryOutcome) => void,
): Promise<void> {
  const patience: Patience = { spent: false };
  for (let after = 0; ;) {
    const letters = await listDeadLetters(context.pool, filter, { after, limit: PAGE });
    for (const letter of letters) {
      context.signal.throwIfAborted();
      onDone(letter, await retryOne(context, letter, patience));
    }
    if (letters.length < PAGE) return;
    after = letters.at(-1)!.deadLetterNo;
  }
}

async function retryOne(
  context: IngestContext,
  letter: StoredDeadLetter,
  patience: Patience,
): Promise<RetryOutcome> {
  const message = await readDeadLetterMessage(context.pool, letter.deadLetterNo);
  if (!message) return 'gone';
  const { dataset, topic, partition, epoch, offset } = letter;
  using chunks = new ChunkCutter(context, [message], { dataset, from: offset, to: offset + 1, patience });
  const chunk = (await chunks.next())!;
  const isolated = letter.reason === KILLED_DECODER;
  for (;;) {
    const batch = await prepareChunk(context, { dataset, topic, partition, epoch }, chunk, isolated);
    const outcome = await withClient(context.pool, (client) =>
      writeRetried(client, letter.deadLetterNo, batch, context.stores[batch.store]),
    );
    if (outcome !== 'dataset-changed') return outcome;
    await context.live.refresh(letter.dataset);
  }
}
