import type { Pool } from 'pg';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import { resolveModel } from '../sql/models.ts';
import { readShadow, type ShadowState, writeShadowModel } from '../sql/shadow.ts';
import { Classifier } from './inference.ts';
import { loadModelRef } from './model-ref.ts';

/** What setting or unsetting a shadow did. */
export interface ShadowChange {
  dataset: string;
  /** The shadow now; null: none. */
  model: number | null;
  /** The shadow before. */
  before: number | null;
  /** false: it was so already. */
  changed: boolean;
}

/**
 * From now on the model predicts every new image beside the live one; what it says is stored apart, in
 * `imagehub.predictions`. It is loaded, checked against the dataset's classes and run first. Another model that was the
 * shadow is none any more; its predictions stay.
 * @param named a number, or `previous`
 * @param by who does it; left out: the database user
 * @throws HubError NOT_FOUND, BAD_MODEL, USAGE when it is the live model, CONFLICT when it went live or was deleted
 * meanwhile; nothing is changed then.
 */
export async function setShadow(
  pool: Pool,
  name: string,
  named: string | number,
  by?: string,
): Promise<ShadowChange> {
  const dataset = await getDataset(pool, name);
  const { model } = await resolveModel(pool, name, named);
  if (model === dataset.liveModelId) {
    throw new HubError('USAGE', `Model ${model} is live in ${name}: it cannot be its own shadow.`, {
      hint: `imagehub model list ${name} shows the others.`,
    });
  }
  await check(pool, model, dataset);
  const written = await writeShadowModel(pool, name, model, by);
  if (written === 'conflict') {
    throw new HubError('CONFLICT', `Model ${model} went live or was deleted in this very moment.`, {
      hint: `See imagehub model list ${name}.`,
    });
  }
  return changeOf(name, model, written);
}

/** New images are predicted by the live model alone again; the shadow's predictions stay. @throws HubError NOT_FOUND */
export async function unsetShadow(pool: Pool, name: string, by?: string): Promise<ShadowChange> {
  await getDataset(pool, name);
  return changeOf(name, null, await writeShadowModel(pool, name, null, by));
}

/** The shadow, and how it agrees with the live model so far. @throws HubError NOT_FOUND */
export async function showShadow(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  name: string,
): Promise<ShadowState> {
  const { store } = await getDataset(pool, name);
  return readShadow(stores[store].images, pool, name);
}

function changeOf(
  dataset: string,
  model: number | null,
  written: Awaited<ReturnType<typeof writeShadowModel>>,
): ShadowChange {
  if (typeof written === 'string') {
    throw new HubError('NOT_FOUND', `Dataset ${dataset} was dropped meanwhile.`);
  }
  return { dataset, model, before: written.before, changed: written.before !== model };
}

async function check(
  pool: Pool,
  model: number,
  { name, classes, liveModelId, shadowModelId }: Awaited<ReturnType<typeof getDataset>>,
): Promise<void> {
  try {
    const { onnx, manifest } = await loadModelRef(pool, model);
    const classifier = await Classifier.load(new Uint8Array(onnx), manifest, classes);
    await classifier.release();
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const stays = [
      liveModelId === null ? 'nothing is live' : `model ${liveModelId} stays live`,
      shadowModelId === null ? 'no model is its shadow' : `model ${shadowModelId} stays its shadow`,
    ].join(', ');
    throw new HubError(
      error.code,
      `Model ${model} cannot be the shadow of ${name}; ${stays}. ${error.message}`,
      {
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        cause: error,
      },
    );
  }
}
