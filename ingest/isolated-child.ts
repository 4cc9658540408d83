// The child process of isolation.ts.
import { type Answers, answerTasks } from '../classifier/isolated/answer.ts';
import { extractorFor } from '../classifier/features/extractors-in-thread.ts';
import { classifierFor } from '../classifier/models-in-thread.ts';
import type { BatchTask } from './batch-task.ts';
import { packMessages, unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

async function* resultOfEach(task: BatchTask): Answers {
  for (const model of [task.model, task.shadow?.model]) {
    // One that cannot be loaded is each image’s verdict.
    if (model) await classifierFor(model, task.dataset.classes).catch(() => undefined);
  }
  if (task.backbone && task.backboneError === undefined)
    await extractorFor(task.backbone).catch(() => undefined);
  yield null;
  for (const message of unpackMessages(task.messages)) {
    yield await processBatch({ ...task, messages: packMessages([message]) });
  }
}

answerTasks(resultOfEach);
