import pino from 'pino';
import { registerModel } from '../../classifier/registry.ts';
import { openStoredClassifier } from '../../classifier/stored/classify-stored.ts';
import type { Pool } from '../../sql/database.ts';
import { LINEAR_MANIFEST, linearModel } from './linear-model.ts';

/** Threads that apply models to stored images. */
export const storedClassifier = () =>
  openStoredClassifier({
    workers: 2,
    maxPixels: 1e6,
    decodeTimeoutMs: 30_000,
    log: pino({ level: 'silent' }),
  });

/** Registers a model whose answers differ from image to image and are mostly wrong. @returns its number */
export const addLinearModel = (pool: Pool, dataset: string, seed: number): Promise<number> =>
  registerModel(pool, { dataset, onnx: linearModel(seed), manifest: LINEAR_MANIFEST, source: 'test' });
