import type { PoolClient } from 'pg';
import type { Precision, StoredBackbone } from './backbones.ts';
import { CopyWriter } from './binary-copy.ts';
import { RowReader } from './binary-rows.ts';
import { copyIn } from './copy-in.ts';
import type { Queryable } from './database.ts';
import type { Dataset } from './datasets.ts';
import type { EncodedRows } from './encoded-rows.ts';
import { type HeldImage, type ImageStore, STORE_SUPPORT } from './image-store.ts';
import { addOne, type SomeImages } from './some-images.ts';

/** A stored image as it is read to get its features. */
export interface FeatureSource {
  id: string;
  /** Changes with every change of the row; null: not known. */
  revision: number | null;
  sha256: Buffer | null;
}

/** What `readFeatureSources` reads. */
export const SOURCE_COLUMNS = ['id', 'revision', 'sha256', 'image_base64'] as const;

/** All rows of a piece of binary COPY with `SOURCE_COLUMNS`, and their images' bytes. */
export function readFeatureSources(bytes: Uint8Array<ArrayBuffer>): {
  rows: FeatureSource[];
  images: Uint8Array<ArrayBuffer>[];
} {
  const rows: FeatureSource[] = [];
  const images: Uint8Array<ArrayBuffer>[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) {
    rows.push({ id: reader.text()!, revision: reader.int8()!, sha256: reader.bytea() });
    images.push(reader.base64() as Buffer<ArrayBuffer>);
  }
  return { rows, images };
}

/** Of a row without its numbers, roughly. */
export const FEATURE_ROW_BYTES = 120;

/** Appends what a backbone gave for one image, in binary COPY format. */
export function writeFeatureRow(
  out: CopyWriter,
  { id, revision, sha256 }: FeatureSource,
  vector: Uint8Array | null,
  error: string | null,
): void {
  out.row(5);
  out.text(id);
  out.int8(revision);
  out.bytea(sha256);
  out.bytea(vector);
  out.text(error);
}

/** What a backbone gave for the rows of a batch that is ingested. */
export interface FeatureBatch {
  backbone: Pick<StoredBackbone, 'id' | 'name'>;
  /** One for each row of the batch, in the same order. */
  rows: EncodedRows;
  /** On how many of them the backbone failed, and why on the first. */
  failed: SomeImages | null;
  /** For how many of them nothing was computed, and why. */
  missing: SomeImages | null;
}

/** Makes the rows of a `FeatureBatch`. Hashes are those of images' bytes, 32 characters of 0–255; null: none are kept. */
export class FeatureWriter {
  readonly precision: Precision;
  readonly #out: CopyWriter;
  readonly #ends: number[] = [];
  failed: FeatureBatch['failed'] = null;
  missing: FeatureBatch['missing'] = null;

  /** @param images how many are expected */
  constructor({ features, precision }: Pick<StoredBackbone, 'features' | 'precision'>, images: number) {
    this.precision = precision;
    this.#out = new CopyWriter(Math.max(1, images) * (FEATURE_ROW_BYTES + features * BYTES_OF_FLOAT16));
  }

  add(id: string, sha256: string | null, vector: Uint8Array): void {
    this.#add(id, sha256, vector, null);
  }

  addFailed(id: string, sha256: string | null, error: string): void {
    this.#add(id, sha256, null, error.replaceAll('\0', '␀'));
    this.failed = addOne(this.failed, error);
  }

  /** Stands for an image of whose features nothing is written, as if nobody had asked for them. */
  addMissing(id: string, sha256: string | null, why: string): void {
    this.#add(id, sha256, null, null);
    this.missing = addOne(this.missing, why);
  }

  #add(id: string, sha256: string | null, vector: Uint8Array | null, error: string | null): void {
    const bytes = sha256 === null ? null : Buffer.from(sha256, 'latin1');
    writeFeatureRow(this.#out, { id, revision: null, sha256: bytes }, vector, error);
    this.#ends.push(this.#out.length);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#out.bytes();
  }

  /** Where each row ends in the bytes. */
  get ends(): Uint32Array<ArrayBuffer> {
    return Uint32Array.from(this.#ends);
  }
}

/** How features are stored unless the backbone says otherwise; with others the writer's memory grows. */
const BYTES_OF_FLOAT16 = 2;

/**
 * Features `f` are those of image `i`, and of its present bytes; classic columns keep no hash, there time tells. Ids are compared as
 * the table of features sorts them, whose index is of no use otherwise: rows from Kudu have another order.
 */
const ARE_PRESENT =
  'f.dataset = i.dataset and f.id = i.id collate "default" and f.sha256 is not distinct from i.sha256 and (i.sha256 is not null or f.computed_at >= i.ingested_at)';

/** Images `i` that have no features of their present bytes by the backbone. */
export const withoutFeatures = (backbone: number): string =>
  `not exists (select from imagehub.features f
     where f.backbone_id = ${backbone} and ${ARE_PRESENT})`;

/** After images `i`: their features `f` by the backbone, of their present bytes, or nulls. */
export const joinFeatures = (backbone: number): string =>
  `left join imagehub."features_${backbone}" f
     on f.backbone_id = ${backbone} and ${ARE_PRESENT}`;

const STAGE = `
  set local client_min_messages = warning;
  create temp table if not exists staged_features (id text, revision bigint, sha256 bytea, vector bytea, error text) on commit delete rows`;

async function stage(client: PoolClient, rows: Uint8Array | Uint8Array[]): Promise<void> {
  await client.query(STAGE);
  const columns = 'id, revision, sha256, vector, error';
  await copyIn(client, `copy staged_features (${columns}) from stdin (format binary)`, rows);
}

/** Puts staged rows in place of what the backbone gave for the images before. @param rows what is staged, as `s` */
const replaceStaged = (backbone: number, rows: string): string => `
  insert into imagehub."features_${backbone}" as f (backbone_id, dataset, id, sha256, vector, error, computed_at)
  select ${backbone}, $1, s.id, s.sha256, s.vector, s.error, now() from ${rows}
  on conflict (backbone_id, dataset, id) do update set
    sha256 = excluded.sha256, vector = excluded.vector, error = excluded.error, computed_at = excluded.computed_at`;

/**
 * Writes what a backbone gave for images, in place of what it gave before. Of those that were deleted since, or got other
 * bytes, nothing is written: they have no features of their present bytes, which shows.
 * @param client in a transaction
 * @param store the dataset's
 * @param rows made by `writeFeatureRow`
 */
export async function writeFeatures(
  client: PoolClient,
  store: Pick<ImageStore, 'holdImages'>,
  { backbone, dataset }: { backbone: number; dataset: string },
  rows: Uint8Array[],
): Promise<void> {
  await stage(client, rows);
  const { rows: staged } = await client.query<HeldImage>('select id, revision, sha256 from staged_features');
  const held = await store.holdImages(
    client,
    dataset,
    staged.map(({ id }) => id),
  );
  const present = new Map(held.map((image) => [image.id, image]));
  const same = staged.filter(({ id, revision, sha256 }) => {
    const now = present.get(id);
    return now && (now.revision === revision || (sha256 !== null && now.sha256?.equals(sha256)));
  });
  await client.query(replaceStaged(backbone, 'staged_features s where s.id = any($2) order by s.id'), [
    dataset,
    same.map(({ id }) => id),
  ]);
}

/**
 * Writes the features of a batch's rows, in the transaction that wrote these.
 * @param written ids of the rows that were really written; no newer ones were in the table
 */
export async function writeFeaturesOf(
  client: PoolClient,
  dataset: string,
  { backbone, rows }: FeatureBatch,
  written: readonly string[],
): Promise<void> {
  if (written.length === 0) return;
  await stage(client, rows.bytes);
  await client.query(
    replaceStaged(
      backbone.id,
      'staged_features s where s.id = any($2) and (vector, error) is distinct from (null, null) order by s.id',
    ),
    [dataset, written],
  );
}

/** Deletes features of images that are gone. @returns how many */
export async function sweepFeatures(
  db: Queryable,
  backbone: number,
  { name, store }: Pick<Dataset, 'name' | 'store'>,
): Promise<number> {
  const features = `imagehub."features_${backbone}"`;
  const sql = STORE_SUPPORT[store].sql ? sweepByRows(features, name) : sweepByDeletions(features);
  const { rowCount } = await db.query(sql, [name]);
  return rowCount ?? 0;
}

const sweepByRows = (features: string, dataset: string): string => `
  delete from ${features} f where f.dataset = $1
     and not exists (select from public."${dataset}" i where i.dataset = $1 and i.id = f.id)`;

/** Held, so that an image that is coming back has come, or comes after this and keeps the features that it gets then. */
const sweepByDeletions = (features: string): string => `
  with gone as materialized (
    select d.id from imagehub.deleted_images d where d.dataset = $1 and d.restored_at is null
       and exists (select from ${features} f where f.dataset = $1 and f.id = d.id)
     order by d.id for share of d)
  delete from ${features} f using gone where f.dataset = $1 and f.id = gone.id`;
