import type { Pool } from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from '../errors.ts';
import { actAs } from '../sql/acting-user.ts';
import { errorCode, transaction } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import {
  dropPredictions,
  getModel,
  markDeleted,
  modelUses,
  resolveModel,
  type StoredModel,
} from '../sql/models.ts';
import { lockLiveModel } from '../sql/promotions.ts';

export interface DeletedModel {
  model: number;
  dataset: string;
  /** Of its ONNX file. */
  bytes: number;
  /** What is under way with it and will fail, in words. */
  uses: string[];
}

/** Tries at dropping the predictions, a second apart each: somebody may be reading them. */
const TRIES = 10;

/**
 * The model that a person wants to delete, and what is under way with it.
 * @throws HubError NOT_FOUND; USAGE when it is live or the shadow
 */
export async function deletable(
  pool: Pool,
  name: string,
  named: string | number,
): Promise<{ model: StoredModel; uses: string[] }> {
  await getDataset(pool, name);
  const number = /^\d{1,15}$/.test(String(named)) ? Number(named) : null;
  // One whose deletion was interrupted can be deleted again.
  const model = number === null ? await resolveModel(pool, name, named) : await getModel(pool, name, number);
  refuseInUse(model);
  return { model, uses: await modelUses(pool, name, model.model) };
}

/**
 * Deletes a model: its ONNX bytes and its stored predictions. Its row stays, with who deleted it and when, for the
 * promotions, runs and images that name it.
 * @throws HubError NOT_FOUND; USAGE when it is live or the shadow; CONFLICT when its predictions are being read and could not
 * be dropped: then it is deleted all the same, and deleting it again drops them.
 * @param by who does it; left out: the database user
 */
export async function deleteModel(
  pool: Pool,
  name: string,
  named: string | number,
  by?: string,
): Promise<DeletedModel> {
  const { model, uses } = await deletable(pool, name, named);
  await transaction(pool, async (client) => {
    await actAs(client, by);
    // Against a promotion at the same time.
    if (!(await lockLiveModel(client, name))) {
      throw new HubError('NOT_FOUND', `Dataset ${name} was dropped meanwhile.`);
    }
    const now = await getModel(client, name, model.model);
    refuseInUse(now);
    if (!now.deletedAt) await markDeleted(client, model.model);
  });
  // After that, and by itself: whoever reads predictions holds it up, and it must not hold up the ingest.
  await drop(pool, model.model);
  return { model: model.model, dataset: name, bytes: model.bytes, uses };
}

function refuseInUse({ model, dataset, live, shadow }: StoredModel): void {
  if (!live && !shadow) return;
  throw new HubError(
    'USAGE',
    live ? `Model ${model} is live in ${dataset}.` : `Model ${model} is the shadow of ${dataset}.`,
    {
      hint: live
        ? `Make another one live first: imagehub promote ${dataset} MODEL, or imagehub rollback ${dataset}.`
        : `End that first: imagehub shadow ${dataset} --off`,
    },
  );
}

async function drop(pool: Pool, model: number): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await transaction(pool, (client) => dropPredictions(client, model));
    } catch (cause) {
      // lock_not_available
      if (errorCode(cause) !== '55P03') throw cause;
      if (tries === TRIES) {
        throw new HubError(
          'CONFLICT',
          `Model ${model} is deleted, but somebody reads the stored predictions, so that its own could not be dropped.`,
          { cause, hint: 'Delete it again later; they take room until then.' },
        );
      }
    }
    await sleep(1000);
  }
}
