import { HubError } from '../errors.ts';
import type { Queryable } from '../sql/database.ts';
import { type Manifest, parseManifest } from './manifest.ts';

/** A model as worker threads get it; the bytes lie in shared memory, so handing them over costs nothing. */
export interface ModelRef {
  id: number;
  onnx: Uint8Array<SharedArrayBuffer>;
  manifest: Manifest;
}

/** Reads a stored model. @throws HubError NOT_FOUND, also for one that was deleted; BAD_MODEL */
export async function loadModelRef(db: Queryable, id: number): Promise<ModelRef> {
  const { rows } = await db.query<{ onnx: Buffer | null; manifest: unknown }>(
    'select onnx, manifest from imagehub.models where id = $1',
    [id],
  );
  const stored = rows[0];
  if (!stored) throw new HubError('NOT_FOUND', `There is no model ${id}.`);
  if (!stored.onnx) throw new HubError('NOT_FOUND', `Model ${id} was deleted.`);
  const onnx = new Uint8Array(new SharedArrayBuffer(stored.onnx.length));
  onnx.set(stored.onnx);
  return { id, onnx, manifest: parseManifest(stored.manifest) };
}

/** The same in memory of its own: shared memory cannot cross processes. */
export const unshared = <T extends Pick<ModelRef, 'onnx'>>(model: T): T => ({
  ...model,
  onnx: new Uint8Array(model.onnx) as unknown as ModelRef['onnx'],
});
