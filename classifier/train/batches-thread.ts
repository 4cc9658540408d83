import { parentPort, workerData } from 'node:worker_threads';
import { type AheadData, type AheadRequest, DistortedBatches } from './batches.ts';

/** Makes the batches that `BatchesAhead` asks for, one at a time, into its memory. */
const { task, width, x, y, made } = workerData as AheadData;
const batches = new DistortedBatches(task, width);

parentPort!.on('message', ({ step, indexes }: AheadRequest) => {
  batches.fill(step, indexes, x, y);
  Atomics.store(made, 0, step);
  Atomics.notify(made, 0);
});
