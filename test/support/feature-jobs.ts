import { addBackbone } from '../../classifier/features/add-backbone.ts';
import {
  type FeatureParameters,
  featureRequest,
  type FeatureRequest,
  FEATURES,
} from '../../classifier/features/features-job.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import type { Job, JobContext, JobKind } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createMetrics } from '../../metrics.ts';
import type { Precision, StoredBackbone } from '../../sql/backbones.ts';
import { transaction } from '../../sql/database.ts';
import { featureGraph } from './feature-graph.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Backbones, and the job that computes their features of a dataset's images. */
export interface FeatureJobs extends AsyncDisposable {
  desk: JobDesk;
  /** Adds `featureGraph` of a seed. */
  backbone(name: string, seed: number, precision?: Precision): Promise<StoredBackbone>;
  /** Adds another network. */
  add(name: string, onnx: Uint8Array, options?: object): ReturnType<typeof addBackbone>;
  compute(backbone: string, request?: Partial<FeatureRequest>): Promise<Job<FeatureParameters>>;
  /** Computes the first part of what is missing, does what is given, and only then writes what was computed. */
  computeAround(backbone: string, meanwhile: () => Promise<unknown>): Promise<void>;
}

export async function featureJobs(context: JobContext, dataset: string): Promise<FeatureJobs> {
  const { pool } = context;
  const dispatcher = await openSender(pool);
  const desk: JobDesk = { ...context, dispatcher };
  const add: FeatureJobs['add'] = async (name, onnx, options = {}) => {
    await using folder = await temporaryFolder();
    const file = await folder.write('backbone.onnx', onnx);
    return await addBackbone(pool, { name, file, ...options });
  };
  return {
    desk,
    add,
    async backbone(name, seed, precision) {
      const options = { scale: 'unit', colour: 'grey' };
      return (await add(name, featureGraph(seed), { options, precision })).backbone;
    },
    async compute(backbone, request) {
      const wanted = await featureRequest(desk, { dataset, backbone, ...request });
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
    async computeAround(backbone, meanwhile) {
      const wanted = await featureRequest(desk, { dataset, backbone });
      const job = { ...wanted, job: 1 } as Job<FeatureParameters>;
      await using workshop = await FEATURES.open(desk, job);
      const [part] = await FEATURES.cut(desk, wanted);
      const { signal } = new AbortController();
      const write = await workshop.work({ job, ...part!, part: 0, attempt: 1, signal, stopping: signal });
      await meanwhile();
      await transaction(pool, (client) => write(client));
    },
    [Symbol.asyncDispose]: () => dispatcher[Symbol.asyncDispose](),
  };
}
