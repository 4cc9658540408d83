import type { Pool } from 'pg';
import { HubError } from '../errors.ts';
import { actAs } from '../sql/acting-user.ts';
import { type Queryable, transaction } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { getModel, insertModel, readModelBytes } from '../sql/models.ts';
import { insertPromotion, latestPromotion, lockLiveModel, type Promotion } from '../sql/promotions.ts';
import type { GateOutcome } from './gate/gate.ts';
import { Classifier } from './inference.ts';
import { type Manifest, parseManifest } from './manifest.ts';
import { describeModel } from './onnx/describe.ts';
import { onnxFacts } from './onnx/facts.ts';

export interface Registration {
  dataset: string;
  /** A complete ONNX model. */
  onnx: Uint8Array;
  /** As parsed from JSON; it is checked. */
  manifest: unknown;
  /** How well it did where it was made; shown beside it, never used. */
  metrics?: object | null;
  /** The run that made it. */
  runId?: number | null;
  /** How it was made, in a few words. */
  source: string;
}

/**
 * Checks a model by loading and running it against the dataset's classes, and stores it as a new version. It is not
 * live by that.
 * @returns the version
 * @throws HubError NOT_FOUND (the dataset), BAD_MODEL with what is wrong and what to do; nothing is stored then.
 */
export async function registerModel(db: Queryable, registration: Registration): Promise<number> {
  const dataset = await getDataset(db, registration.dataset);
  const manifest = await checkModel(registration.onnx, registration.manifest, dataset);
  const provenance = { onnx: onnxFacts(describeModel(registration.onnx)), file: null };
  return insertModel(db, { ...registration, manifest, provenance });
}

/** Loads the model, compares it with its manifest and the dataset's classes, runs it, and lets it go again. */
async function checkModel(onnx: Uint8Array, draft: unknown, { classes }: Dataset): Promise<Manifest> {
  const manifest = parseManifest(draft);
  const classifier = await Classifier.load(onnx, manifest, classes);
  await classifier.release();
  return manifest;
}

/** What promoting or rolling back did. */
export interface PromotionResult extends Promotion {
  dataset: string;
  model: number;
  /** false: the model was live already, and nothing was done. */
  changed: boolean;
}

export interface PromotionOptions {
  /** What it was required to reach, see `promoteThrough`. */
  passed?: GateOutcome | undefined;
  /** The promotion that must still be the latest; any when left out. */
  expected?: number | undefined;
  /** Who does it; left out: the database user. */
  by?: string | undefined;
}

/**
 * Makes a model live: it is loaded, checked against the dataset's classes and run first, and if that fails, the one
 * that is live stays. Running pipelines take it up by themselves. Promotions at the same time come one after the other.
 * @throws HubError NOT_FOUND, BAD_MODEL, CONFLICT when another promotion than the expected one is the latest
 */
export async function promote(
  pool: Pool,
  dataset: string,
  model: number,
  reason: string | null = null,
  options: PromotionOptions = {},
): Promise<PromotionResult> {
  await checkStoredModel(pool, dataset, model);
  return makeLive(pool, dataset, model, { reason, ...options });
}

/**
 * Makes the model live again that was live before the present one. That is a promotion too, with a number of its own;
 * rolling back twice is back where it began.
 * @throws HubError NOT_FOUND when there is nothing to go back to, BAD_MODEL, CONFLICT when another model became live
 * meanwhile.
 */
export async function rollback(
  pool: Pool,
  dataset: string,
  reason: string | null = null,
  { by }: Pick<PromotionOptions, 'by'> = {},
): Promise<PromotionResult> {
  await getDataset(pool, dataset);
  const latest = await latestPromotion(pool, dataset);
  if (!latest || latest.previousModel === null) {
    throw new HubError(
      'NOT_FOUND',
      latest
        ? `Model ${latest.model} is the first that was live in ${dataset}: there is none to go back to.`
        : `No model was ever live in ${dataset}: there is none to go back to.`,
      { hint: `imagehub model list ${dataset} lists the models; imagehub promote makes one live.` },
    );
  }
  await checkStoredModel(pool, dataset, latest.previousModel);
  return makeLive(pool, dataset, latest.previousModel, {
    reason: reason ?? `rolled back from model ${latest.model}`,
    expected: latest.promotionNo,
    by,
  });
}

async function checkStoredModel(pool: Pool, name: string, model: number): Promise<void> {
  const dataset = await getDataset(pool, name);
  const { manifest } = await getModel(pool, name, model);
  const onnx = await readModelBytes(pool, name, model);
  try {
    await checkModel(onnx, manifest, dataset);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const stays =
      dataset.liveModelId === null ? 'nothing is live' : `model ${dataset.liveModelId} stays live`;
    throw new HubError(error.code, `Model ${model} cannot go live, ${stays}. ${error.message}`, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    });
  }
}

interface NewPromotion extends PromotionOptions {
  reason: string | null;
}

function makeLive(
  pool: Pool,
  dataset: string,
  model: number,
  { reason, passed, expected, by }: NewPromotion,
): Promise<PromotionResult> {
  return transaction(pool, async (client) => {
    await actAs(client, by);
    const before = await lockLiveModel(client, dataset);
    if (!before) throw new HubError('NOT_FOUND', `Dataset ${dataset} was dropped meanwhile.`);
    if (expected !== undefined && before.promotionNo !== expected) {
      throw new HubError(
        'CONFLICT',
        `Model ${before.liveModelId} became live in ${dataset} meanwhile; nothing was changed.`,
        {
          hint: `See what is live with imagehub model list ${dataset}, and try again if you still want to.`,
        },
      );
    }
    const { deletedAt } = await getModel(client, dataset, model);
    if (deletedAt) {
      throw new HubError(
        'NOT_FOUND',
        `Model ${model} of ${dataset} was deleted meanwhile; nothing was changed.`,
      );
    }
    if (before.liveModelId === model) {
      const latest = (await latestPromotion(client, dataset))!;
      return { ...latest, dataset, model, changed: false };
    }
    const promotion = await insertPromotion(client, dataset, before, {
      model,
      reason,
      gate: passed ?? null,
    });
    return { ...promotion, dataset, model, changed: true };
  });
}
