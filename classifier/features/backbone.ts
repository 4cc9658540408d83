import { z } from 'zod';
import { HubError } from '../../errors.ts';
import { type Precision, readBackboneBytes, type StoredBackbone } from '../../sql/backbones.ts';
import type { Queryable } from '../../sql/database.ts';
import { inputSchema } from '../manifest.ts';

const backboneSchema = z.strictObject({
  input: inputSchema,
  /** The output that holds the features: [N, features], maybe with trailing dimensions of 1. */
  output: z.strictObject({ name: z.string().min(1, 'must not be empty') }),
});

/** What a backbone expects, and which of its outputs are features. */
export type BackboneManifest = z.output<typeof backboneSchema>;

/** @throws HubError BAD_MODEL that lists every problem with the field it is in */
export function parseBackbone(value: unknown): BackboneManifest {
  const parsed = backboneSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'manifest'}: ${message}`,
  );
  throw new HubError('BAD_MODEL', `The backbone’s manifest is wrong:\n  ${problems.join('\n  ')}`, {
    hint: 'Correct the fields named above and add the backbone again.',
  });
}

/** What to run for the features that are missing. */
export const computeHint = (dataset: string, { name }: Pick<StoredBackbone, 'name'>): string =>
  `imagehub features ${dataset} --backbone ${name}`;

/** A backbone as worker threads get it; the bytes lie in shared memory, so handing them over costs nothing. */
export interface BackboneRef {
  id: number;
  name: string;
  /** Of the file, in hex: what tells models that hold the same one. */
  sha256: string;
  onnx: Uint8Array<SharedArrayBuffer>;
  manifest: BackboneManifest;
  /** Numbers per image. */
  features: number;
  /** How they are stored. */
  precision: Precision;
}

/** @throws HubError NOT_FOUND when it was deleted meanwhile; BAD_MODEL */
export async function loadBackboneRef(
  db: Queryable,
  {
    manifest,
    ...stored
  }: Pick<StoredBackbone, 'id' | 'name' | 'sha256' | 'manifest' | 'features' | 'precision'>,
): Promise<BackboneRef> {
  const bytes = await readBackboneBytes(db, stored.id);
  const onnx = new Uint8Array(new SharedArrayBuffer(bytes.length));
  onnx.set(bytes);
  const { id, name, sha256, features, precision } = stored;
  return { id, name, sha256, onnx, manifest: parseBackbone(manifest), features, precision };
}
