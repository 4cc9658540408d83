import type { Worker } from 'node:worker_threads';

/**
 * Counts threads of this process that end by themselves (out of memory, a crash that only they do not survive): the
 * pool replaces each. Any thread counts; those of the pool are the only ones that a running pipeline has.
 * @returns how to stop counting: threads that are ended on purpose are no restarts.
 */
export function countThreadRestarts(restarts: { inc(): void }): () => void {
  let counting = true;
  const onThread = (thread: Worker) => void thread.once('exit', () => void (counting && restarts.inc()));
  process.on('worker', onThread);
  return () => {
    counting = false;
    process.off('worker', onThread);
  };
}
