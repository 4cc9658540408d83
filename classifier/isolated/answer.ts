import { Worker } from 'node:worker_threads';

/** What a child answers for one image; first null, when it is ready for them: loading models is not the first one’s time. */
export type Answers = AsyncIterable<object | null>;

/** How often it is looked whether the parent is still there. */
const LOOK_EVERY_MS = 1000;

/** A thread, as this one may hang; `process.exit` would only end the thread. */
const WATCH = `
  const { workerData: parent } = require('node:worker_threads');
  setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), ${LOOK_EVERY_MS});`;

/**
 * The child process of process.ts: answers for the images of each task one after the other, so that a crash names its
 * image. Ends with its parent, also in the middle of an image and when the parent was killed.
 */
export function answerTasks<T>(answersTo: (task: T) => Answers): void {
  new Worker(WATCH, { eval: true, execArgv: [], workerData: Number(process.argv[2]) }).unref();
  process.on('disconnect', () => process.exit());
  // Ctrl-C in a terminal reaches us too, and would look as if the image had ended us; the parent decides.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.on('message', (task: T) => {
    answerEach(answersTo(task)).catch((error: unknown) =>
      tell({ error: error instanceof Error ? error.message : String(error) }),
    );
  });
  // Starting took a while, too.
  void tell({ answer: null });
}

async function answerEach(answers: Answers): Promise<void> {
  for await (const answer of answers) await tell({ answer });
}

/**
 * Resolves when all of it is on its way: what is only partly written is lost if the next image ends or hangs this
 * process. Nobody to tell when the parent is gone: `disconnect` ends us.
 */
const tell = (message: object) =>
  new Promise<void>((resolve) => process.send!(message, undefined, undefined, () => resolve()));
