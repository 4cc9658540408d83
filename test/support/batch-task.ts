import type { BatchTask } from '../../ingest/batch-task.ts';
import type { StoreName } from '../../sql/image-store.ts';
import { TEN } from './pipeline.ts';

/** Digits for the worker threads, without a model, but for their messages. */
export const digitsTask = (store: StoreName): Omit<BatchTask, 'messages' | 'rowMemory' | 'hash'> => ({
  dataset: {
    name: 'digits',
    store,
    classes: TEN,
    labelFrom: 'none',
    labelPattern: null,
    pgmMaxSide: 255,
    background: 255,
    columns: 'all',
    stripLocation: false,
  },
  model: null,
  promotionNo: 0,
  shadow: null,
  backbone: null,
  source: { topic: 'digits', partition: 0, epoch: 0 },
  maxPixels: 1e9,
});
