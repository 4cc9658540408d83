import { type Config, loadConfig } from '../../config.ts';
import { addBackbone } from '../../classifier/features/add-backbone.ts';
import {
  type FeatureParameters,
  featureRequest,
  type FeatureRequest,
  FEATURES,
} from '../../classifier/features/features-job.ts';
import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import { mulberry32 } from '../../classifier/train/random.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import type { Job, JobKind } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import type { Precision, StoredBackbone } from '../../sql/backbones.ts';
import { createDataset, type NewDataset } from '../../sql/datasets.ts';
import { insertDigits } from './digit-rows.ts';
import { SIDE } from './digits.ts';
import { TEN } from './pipeline.ts';
import { freshDatabase, type TestDatabase } from './servers.ts';
import { storesOf } from './stores.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Numbers per image of `featureGraph`. */
export const FEATURES_OF_GRAPH = 64;

/** A network of grey digits with random weights: `features` behind a ReLU, and, behind those, `logits` of 1000 classes. */
export function featureGraph(seed: number): Uint8Array {
  const random = mulberry32(seed);
  const pixels = SIDE * SIDE;
  const graph = new GraphBuilder('backbone');
  const noise = (length: number, scale: number) =>
    Float32Array.from({ length }, () => (2 * random() - 1) * scale);
  graph.input('image', 'float32', ['N', 1, SIDE, SIDE]);
  graph.tensor('inner', [pixels, FEATURES_OF_GRAPH], noise(pixels * FEATURES_OF_GRAPH, 0.1));
  graph.tensor('outer', [FEATURES_OF_GRAPH, 1000], noise(FEATURES_OF_GRAPH * 1000, 0.1));
  const flat = graph.op('Flatten', ['image'], { axis: { int: 1 } });
  graph.op('Relu', [graph.op('MatMul', [flat, 'inner'])], {}, 'features');
  graph.op('MatMul', ['features', 'outer'], {}, 'logits');
  graph.output('features', 'float32', ['N', FEATURES_OF_GRAPH]);
  graph.output('logits', 'float32', ['N', 1000]);
  return graph.encode();
}

/** A database with labelled digits in dataset `digits`, and backbones. */
export interface FeatureHub extends AsyncDisposable {
  pool: TestDatabase['pool'];
  url: string;
  desk: JobDesk;
  /** Adds `featureGraph` of a seed. */
  backbone(name: string, seed: number, precision?: Precision): Promise<StoredBackbone>;
  /** Adds another network. */
  add(name: string, onnx: Uint8Array, options?: object): ReturnType<typeof addBackbone>;
  compute(backbone: string, request?: Partial<FeatureRequest>): Promise<Job<FeatureParameters>>;
}

export async function featureHub(
  images: number,
  dataset: Partial<NewDataset> = {},
  settings: Partial<Config> = {},
): Promise<FeatureHub> {
  const database = await freshDatabase();
  const { pool } = database;
  await createDataset(pool, { name: 'digits', classes: TEN, ...dataset });
  if (images > 0) await insertDigits(pool, 'digits', { from: 0, count: images, folder: 'd' });
  await pool.query(`update digits set sha256 = sha256(decode(image_base64, 'base64')) where $1`, [
    dataset.columns !== 'classic',
  ]);
  const config = { ...loadConfig({}), logLevel: 'silent' as const, workers: 2, ...settings };
  const dispatcher = await openSender(pool);
  const stores = storesOf(pool, config);
  const desk: JobDesk = { pool, stores, config, log: createLogger(config), dispatcher };
  const add: FeatureHub['add'] = async (name, onnx, options = {}) => {
    await using folder = await temporaryFolder();
    const file = await folder.write('backbone.onnx', onnx);
    return await addBackbone(pool, { name, file, ...options });
  };
  return {
    pool,
    url: database.url,
    desk,
    add,
    async backbone(name, seed, precision) {
      const options = { scale: 'unit', colour: 'grey' };
      return (await add(name, featureGraph(seed), { options, precision })).backbone;
    },
    async compute(backbone, request) {
      const wanted = await featureRequest(desk, { dataset: 'digits', backbone, ...request });
      const job = await startJob(desk, FEATURES, wanted);
      if (job.state === 'done') return job;
      return (await workOff(
        {
          ...desk,
          kinds: async () => FEATURES as JobKind,
          metrics: createMetrics({ processMetrics: false }),
          devices: ['cpu'],
          signal: new AbortController().signal,
        },
        job.job,
      )) as Job<FeatureParameters>;
    },
    async [Symbol.asyncDispose]() {
      await dispatcher[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
