import { createHash } from 'node:crypto';
import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { errorCode, type Pool, type Queryable, transaction } from './database.ts';

/** How features are stored. */
export type Precision = 'float16' | 'float32';

/** A backbone as it is stored, without its bytes. */
export interface StoredBackbone {
  id: number;
  name: string;
  /** As stored; `parseBackbone` checks it. */
  manifest: unknown;
  /** Numbers per image. */
  features: number;
  precision: Precision;
  /** Hex SHA-256 of the ONNX bytes. */
  sha256: string;
  bytes: number;
  /** Which file it was, in a few words. */
  source: string;
  provenance: object | null;
  addedBy: string;
  addedAt: Date;
}

export interface NewBackbone extends Pick<StoredBackbone, 'name' | 'features' | 'precision' | 'source'> {
  onnx: Uint8Array;
  manifest: object;
  provenance: object;
}

const SELECT = `
  select id, name, manifest, features, precision, encode(sha256, 'hex') as sha256, length(onnx) as bytes, source, provenance,
         added_by as "addedBy", added_at as "addedAt" from imagehub.backbones`;

/** Stores a backbone that was checked before. @throws HubError ALREADY_EXISTS */
export async function insertBackbone(
  pool: Pool,
  backbone: NewBackbone,
  by: string | undefined,
): Promise<StoredBackbone> {
  const { name, features, precision, source, onnx, manifest, provenance } = backbone;
  const bytes = Buffer.from(onnx.buffer, onnx.byteOffset, onnx.byteLength);
  const sha256 = createHash('sha256').update(bytes).digest();
  try {
    await transaction(pool, async (client) => {
      await actAs(client, by);
      await client.query(
        `with made as (
           insert into imagehub.backbones (name, manifest, features, precision, sha256, onnx, source, provenance)
           values ($1, $2, $3, $4, $5, $6, $7, $8) returning id)
         select imagehub.create_features(id) from made`,
        [
          name,
          JSON.stringify(manifest),
          features,
          precision,
          sha256,
          bytes,
          source,
          JSON.stringify(provenance),
        ],
      );
    });
  } catch (error) {
    if (errorCode(error) !== '23505') throw error;
    throw new HubError('ALREADY_EXISTS', `There is a backbone ${name} already.`, {
      hint: `imagehub backbone show ${name} tells what it is; give this one another name.`,
      cause: error,
    });
  }
  return getBackbone(pool, name);
}

export async function listBackbones(db: Queryable): Promise<StoredBackbone[]> {
  return (await db.query<StoredBackbone>(`${SELECT} order by name`)).rows;
}

/** @throws HubError NOT_FOUND */
export async function getBackbone(db: Queryable, name: string): Promise<StoredBackbone> {
  const { rows } = await db.query<StoredBackbone>(`${SELECT} where name = $1`, [name]);
  if (rows[0]) return rows[0];
  const names = (await listBackbones(db)).map((each) => each.name);
  throw new HubError('NOT_FOUND', `There is no backbone ${name}.`, {
    hint:
      names.length > 0
        ? `There are ${names.join(', ')}.`
        : `Add one: imagehub backbone add ${name} FILE.onnx`,
  });
}

/** The backbone of that name; where no name is given, the only one. @throws HubError NOT_FOUND; USAGE when there are several */
export async function chooseBackbone(db: Queryable, name: string | undefined): Promise<StoredBackbone> {
  if (name !== undefined) return getBackbone(db, name);
  const [only, ...others] = await listBackbones(db);
  if (!only) {
    throw new HubError('NOT_FOUND', 'There is no backbone: nothing says what images have in common.', {
      hint: 'Add one: imagehub backbone add NAME FILE.onnx, then compute its features: imagehub features DATASET --backbone NAME',
    });
  }
  if (others.length === 0) return only;
  throw new HubError(
    'USAGE',
    `There are several backbones: ${[only, ...others].map((each) => each.name).join(', ')}.`,
    { hint: `Say whose features are meant: --backbone ${only.name}` },
  );
}

/** The ONNX bytes. @throws HubError NOT_FOUND */
export async function readBackboneBytes(db: Queryable, id: number): Promise<Buffer> {
  const { rows } = await db.query<{ onnx: Buffer }>('select onnx from imagehub.backbones where id = $1', [
    id,
  ]);
  if (!rows[0]) throw new HubError('NOT_FOUND', 'The backbone was deleted.');
  return rows[0].onnx;
}

/** Deletes a backbone with all features that it gave. @throws HubError NOT_FOUND */
export async function deleteBackbone(pool: Pool, name: string): Promise<StoredBackbone> {
  return transaction(pool, async (client) => {
    const backbone = await getBackbone(client, name);
    // First the row, which waits for those who write features as images come, and only then what they write into.
    await client.query('delete from imagehub.backbones where id = $1', [backbone.id]);
    await client.query(`drop table imagehub."features_${backbone.id}"`);
    return backbone;
  });
}
