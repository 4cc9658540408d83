import { createHash } from 'node:crypto';
import { HubError } from '../errors.ts';
import type { ClientBase, Queryable } from './database.ts';
import { OPEN_STATES } from './jobs.ts';

/** An immutable version as it is stored, without its bytes. */
export interface StoredModel {
  /** The model's version, as `imagehub promote` takes it. */
  model: number;
  dataset: string;
  /** Hex SHA-256 of the ONNX bytes. */
  sha256: string;
  /** Length of the ONNX bytes; 0: deleted. */
  bytes: number;
  /** As stored; `parseManifest` checks it. */
  manifest: unknown;
  metrics: Record<string, unknown> | null;
  /** The run that made it; null: it came from outside, or its run was deleted. */
  run: number | null;
  /** How it was made, in a few words. */
  source: string;
  /** What its file says of itself, and which file it was; null for models stored before that was kept. */
  provenance: object | null;
  createdBy: string;
  createdAt: Date;
  live: boolean;
  /** It predicts new images beside the live one. */
  shadow: boolean;
  /** It was live before the live one: what a roll-back goes to. */
  previous: boolean;
  /** Its bytes are gone; what it was stays on record. */
  deletedAt: Date | null;
  deletedBy: string | null;
}

export interface NewModel {
  dataset: string;
  onnx: Uint8Array;
  manifest: object;
  metrics?: object | null | undefined;
  runId?: number | null | undefined;
  source: string;
  /** What its file says of itself, and which file it was. */
  provenance?: object | null | undefined;
  /** Who adds it; left out: the database user. */
  createdBy?: string | undefined;
}

/** Stores a model that was checked before. @returns its version. */
export async function insertModel(db: Queryable, model: NewModel): Promise<number> {
  const { onnx } = model;
  const bytes = Buffer.from(onnx.buffer, onnx.byteOffset, onnx.byteLength);
  const { rows } = await db.query<{ id: number }>(
    `insert into imagehub.models (dataset, sha256, onnx, manifest, metrics, run_id, source, provenance, created_by)
     values ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, imagehub.acting_user())) returning id`,
    [
      model.dataset,
      hashOf(onnx),
      bytes,
      JSON.stringify(model.manifest),
      model.metrics ? JSON.stringify(model.metrics) : null,
      model.runId ?? null,
      model.source,
      model.provenance ? JSON.stringify(model.provenance) : null,
      model.createdBy ?? null,
    ],
  );
  return rows[0]!.id;
}

const hashOf = (onnx: Uint8Array): Buffer => createHash('sha256').update(onnx).digest();

const SELECT = `
  select m.id as model, m.dataset, encode(m.sha256, 'hex') as sha256, coalesce(length(m.onnx), 0) as bytes, m.manifest, m.metrics,
         m.run_id as run, m.source, m.provenance, m.created_by as "createdBy", m.created_at as "createdAt",
         coalesce(m.id = d.live_model_id, false) as live, coalesce(m.id = d.shadow_model_id, false) as shadow,
         coalesce(m.id = (select p.previous_model_id from imagehub.promotions p where p.dataset = m.dataset
                          order by p.promotion_no desc limit 1), false) as previous,
         m.deleted_at as "deletedAt", m.deleted_by as "deletedBy"
  from imagehub.models m join imagehub.datasets d on d.name = m.dataset`;

/** A dataset's models, deleted ones too, oldest first. */
export async function listModels(db: Queryable, dataset: string): Promise<StoredModel[]> {
  return (await db.query<StoredModel>(`${SELECT} where m.dataset = $1 order by m.id`, [dataset])).rows;
}

/** @throws HubError NOT_FOUND when there is no such model, or it belongs to another dataset. */
export async function getModel(db: Queryable, dataset: string, model: number): Promise<StoredModel> {
  const { rows } = await db.query<StoredModel>(`${SELECT} where m.id = $1`, [model]);
  const found = rows[0];
  if (found?.dataset === dataset) return found;
  const own = await listModels(db, dataset);
  throw new HubError(
    'NOT_FOUND',
    found
      ? `Model ${model} belongs to dataset ${found.dataset}, not to ${dataset}.`
      : `Dataset ${dataset} has no model ${model}.`,
    {
      hint:
        own.length > 0
          ? `It has ${own.map((each) => each.model).join(', ')}; imagehub model list ${dataset} tells them apart.`
          : `It has no models yet. Make one with: imagehub train ${dataset}`,
    },
  );
}

/** The oldest model of these bytes with this manifest that is not deleted. */
export async function findModel(
  db: Queryable,
  { dataset, onnx, manifest }: Pick<NewModel, 'dataset' | 'onnx' | 'manifest'>,
): Promise<StoredModel | undefined> {
  const { rows } = await db.query<StoredModel>(
    `${SELECT} where m.dataset = $1 and m.sha256 = $2 and m.manifest = $3::jsonb and m.deleted_at is null
     order by m.id limit 1`,
    [dataset, hashOf(onnx), JSON.stringify(manifest)],
  );
  return rows[0];
}

/** Deletes a model's bytes; its row stays, for what names it. Within a transaction that holds the dataset by `lockLiveModel`. */
export async function markDeleted(client: ClientBase, model: number): Promise<void> {
  await client.query(
    `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = imagehub.acting_user() where id = $1`,
    [model],
  );
}

/**
 * Drops a model's stored predictions, if it has any, within a transaction.
 * @throws lock_not_available (SQLSTATE 55P03) when somebody who reads predictions, of any model, holds it up for 1 s: others
 * who come meanwhile stand behind it.
 */
export async function dropPredictions(client: ClientBase, model: number): Promise<void> {
  await client.query("set local lock_timeout = '1s'");
  await client.query('select imagehub.drop_predictions($1)', [model]);
}

/** What is under way with a model, in words: runs and jobs that name it. */
export async function modelUses(db: Queryable, dataset: string, model: number): Promise<string[]> {
  const { rows } = await db.query<{ use: string }>(
    `select format('%s %s (%s)', what, id, kind) as use from (
       select 'run' as what, id, kind, dataset, parameters from imagehub.runs where state = 'running'
       union all
       select 'job', id, kind, dataset, parameters from imagehub.jobs where state in ${OPEN_STATES}) under_way
     where dataset = $1 and $2::text in (parameters ->> 'model', parameters ->> 'candidate', parameters ->> 'live')
     order by what, id`,
    [dataset, model],
  );
  return rows.map(({ use }) => use);
}

const ALIASES = ['live', 'previous', 'shadow'] as const;

/**
 * The model that a person names: by its number, or `live`, `previous` (what a roll-back goes to), `shadow`.
 * @throws HubError USAGE when it is neither, NOT_FOUND when there is none, or it was deleted
 */
export async function resolveModel(
  db: Queryable,
  dataset: string,
  named: string | number,
): Promise<StoredModel> {
  const alias = ALIASES.find((each) => each === named);
  if (alias) {
    const found = (await listModels(db, dataset)).find((model) => model[alias]);
    if (found && !found.deletedAt) return found;
    throw new HubError(
      'NOT_FOUND',
      found
        ? `The ${alias} model of ${dataset}, ${found.model}, was deleted.`
        : `Dataset ${dataset} has no ${alias} model.`,
      {
        hint: `imagehub model list ${dataset} shows its models.`,
      },
    );
  }
  const number = /^\d{1,15}$/.test(String(named)) ? Number(named) : 0;
  if (number === 0) {
    throw new HubError('USAGE', `“${named}” is no model: give its number, or ${ALIASES.join(', ')}.`, {
      hint: `imagehub model list ${dataset} shows its models.`,
    });
  }
  const model = await getModel(db, dataset, number);
  if (!model.deletedAt) return model;
  throw new HubError('NOT_FOUND', `Model ${number} of ${dataset} was deleted.`, {
    hint: `imagehub model list ${dataset} shows its models.`,
  });
}

/** The ONNX bytes. @throws HubError NOT_FOUND */
export async function readModelBytes(db: Queryable, dataset: string, model: number): Promise<Buffer> {
  const { rows } = await db.query<{ onnx: Buffer | null }>(
    'select onnx from imagehub.models where id = $1 and dataset = $2',
    [model, dataset],
  );
  if (!rows[0]) throw new HubError('NOT_FOUND', `Dataset ${dataset} has no model ${model}.`);
  if (!rows[0].onnx) throw new HubError('NOT_FOUND', `Model ${model} of ${dataset} was deleted.`);
  return rows[0].onnx;
}
