import { createHash } from 'node:crypto';
import { HubError } from '../errors.ts';
import type { Queryable } from './database.ts';

/** An immutable version as it is stored, without its bytes. */
export interface StoredModel {
  /** The model's version, as `imagehub promote` takes it. */
  model: number;
  dataset: string;
  /** Hex SHA-256 of the ONNX bytes. */
  sha256: string;
  /** Length of the ONNX bytes. */
  bytes: number;
  /** As stored; `parseManifest` checks it. */
  manifest: unknown;
  metrics: Record<string, unknown> | null;
  /** The run that made it; null: it came from outside, or its run was deleted. */
  run: number | null;
  /** How it was made, in a few words. */
  source: string;
  createdBy: string;
  createdAt: Date;
  live: boolean;
}

export interface NewModel {
  dataset: string;
  onnx: Uint8Array;
  manifest: object;
  metrics?: object | null | undefined;
  runId?: number | null | undefined;
  source: string;
}

/** Stores a model that was checked before. @returns its version. */
export async function insertModel(db: Queryable, model: NewModel): Promise<number> {
  const { onnx } = model;
  const bytes = Buffer.from(onnx.buffer, onnx.byteOffset, onnx.byteLength);
  const { rows } = await db.query<{ id: number }>(
    `insert into imagehub.models (dataset, sha256, onnx, manifest, metrics, run_id, source)
     values ($1, $2, $3, $4, $5, $6, $7) returning id`,
    [
      model.dataset,
      createHash('sha256').update(bytes).digest(),
      bytes,
      JSON.stringify(model.manifest),
      model.metrics ? JSON.stringify(model.metrics) : null,
      model.runId ?? null,
      model.source,
    ],
  );
  return rows[0]!.id;
}

const SELECT = `
  select m.id as model, m.dataset, encode(m.sha256, 'hex') as sha256, length(m.onnx) as bytes, m.manifest, m.metrics,
         m.run_id as run, m.source, m.created_by as "createdBy", m.created_at as "createdAt",
         coalesce(m.id = d.live_model_id, false) as live
  from imagehub.models m join imagehub.datasets d on d.name = m.dataset`;

/** A dataset's models, oldest first. */
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

/** The ONNX bytes. @throws HubError NOT_FOUND */
export async function readModelBytes(db: Queryable, dataset: string, model: number): Promise<Buffer> {
  const { rows } = await db.query<{ onnx: Buffer }>(
    'select onnx from imagehub.models where id = $1 and dataset = $2',
    [model, dataset],
  );
  if (!rows[0]) throw new HubError('NOT_FOUND', `Dataset ${dataset} has no model ${model}.`);
  return rows[0].onnx;
}
