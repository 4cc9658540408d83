// The child process of isolation.ts: one image at a time, so that a crash names its image.
import type { BatchTask } from './batch-task.ts';
import { processBatch } from './process-batch.ts';

let model: BatchTask['model'] = null;

/** First the model, once; then tasks, each answered before the next is sent. */
process.on('message', (message: { model: BatchTask['model'] } | { task: BatchTask }) => {
  if ('model' in message) {
    model = message.model;
    return;
  }
  processBatch({ ...message.task, model }).then(
    (result) => process.send!({ result }),
    (error: unknown) => process.send!({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit());
