// The child process of classify.ts.
import { classifyEncoded } from '../classify-encoded.ts';
import { classifierFor } from '../models-in-thread.ts';
import { type Answers, answerTasks } from './answer.ts';
import type { ClassifyTask } from './classify.ts';

async function* classify({ model, classes, maxPixels, images, atOnce }: ClassifyTask): Answers {
  // One that cannot be loaded is each image’s verdict.
  await classifierFor(model, classes).catch(() => undefined);
  yield null;
  for (let i = 0; i < images.length; i += atOnce) {
    yield await classifyEncoded(model, classes, images.slice(i, i + atOnce), maxPixels);
  }
}

answerTasks(classify);
