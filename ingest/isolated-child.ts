// The child process of isolation.ts: it takes a batch and answers image by image, in order, so that a crash names
// its image.
import type { BatchTask } from './batch-task.ts';
import { packMessages, unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

/** Nobody to tell when the parent is gone: `disconnect` ends us. */
const tell = (message: unknown) => process.send!(message, undefined, undefined, () => undefined);

async function answerEach(task: BatchTask): Promise<void> {
  for (const message of unpackMessages(task.messages)) {
    tell({ result: await processBatch({ ...task, messages: packMessages([message]) }) });
  }
}

process.on('disconnect', () => process.exit());
// Ctrl-C in a terminal reaches us too, and would look as if the image had ended us; the parent decides.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('message', (task: BatchTask) => {
  answerEach(task).catch((error: unknown) =>
    tell({ error: error instanceof Error ? error.message : String(error) }),
  );
});
// Loading took a while, and is not to count as the first image's time.
tell({ ready: true });
