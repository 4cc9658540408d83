import { applyJobs, type ApplyJobs, wronglyPredicted } from '../../support/apply-jobs.ts';
import { digitPng } from '../../support/digits.ts';
import type { StoreDataset, StoreHub, StoreMessage } from './store-hub.ts';
import type { ImageRow } from './stored-images.ts';

/** d/0, d/1 …: the classes in turn. @param version others are other pictures */
export const digits = (count: number, version = 0): StoreMessage[] =>
  Array.from({ length: count }, (_, n) => ({ key: `d/${n}`, value: digitPng(n % 10, n + 100 * version) }));

/** What imagehub.predictions has of an image. */
export interface KeptPrediction {
  model: number;
  id: string;
  prediction: number;
  source: string;
  /** How many. */
  scores: number | null;
  /** It is about the bytes that the image has. */
  sound: boolean;
}

/** A dataset whose images models are applied to. */
export interface ApplyDataset extends Omit<StoreDataset, 'goLive'>, ApplyJobs {
  byId(): Promise<Map<string, ImageRow>>;
  /** Ids whose prediction is not what the linear model of a seed says about the bytes that are there. */
  wrong(seed: number): Promise<string[]>;
  kept(): Promise<KeptPrediction[]>;
  /** Changes a row as a program that works on the table; in Kudu it has to draw the revision. */
  overwrite(row: Parameters<StoreDataset['change']>[0]): Promise<void>;
}

export async function applyDataset(
  hub: StoreHub,
  options: Parameters<StoreHub['dataset']>[0] = {},
): Promise<ApplyDataset> {
  const { pool, store } = hub;
  const dataset = await hub.dataset(options);
  const jobs = await applyJobs(hub, dataset.name);
  return {
    ...dataset,
    ...jobs,
    byId: async () => new Map((await dataset.images()).map((row) => [row.id, row])),
    wrong: async (seed) => wronglyPredicted(seed, await dataset.images()),
    kept: () => keptOf(hub, dataset),
    async overwrite(row) {
      const { rows } = await pool.query<{ revision: number }>(
        `select nextval('imagehub.revision') as revision`,
      );
      await dataset.change(store === 'postgres' ? row : { ...row, ...rows[0] });
    },
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]();
      await dataset[Symbol.asyncDispose]();
    },
  };
}

async function keptOf({ pool }: StoreHub, { name, images }: StoreDataset): Promise<KeptPrediction[]> {
  const { rows } = await pool.query<
    Omit<KeptPrediction, 'sound' | 'scores'> & { sha256: string | null; scores: number[] | null }
  >(
    `select model_id as model, id, prediction, source, encode(sha256, 'hex') as sha256, scores
     from imagehub.predictions where model_id in (select id from imagehub.models where dataset = $1) order by 1, 2`,
    [name],
  );
  const stored = new Map((await images()).map((row) => [row.id, row.sha256]));
  return rows.map(({ sha256, scores, ...row }) => ({
    ...row,
    scores: scores?.length ?? null,
    sound: sha256 === stored.get(row.id),
  }));
}
