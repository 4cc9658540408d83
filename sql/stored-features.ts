import type { PoolClient } from 'pg';
import { RowReader } from './binary-rows.ts';
import { copyOut } from './copy-out.ts';
import type { Queryable } from './database.ts';
import { joinFeatures } from './features.ts';
import { type Selection, selectionSql } from './selection.ts';
import type { ImagesInSql } from './stored-images.ts';

/** An image with what a backbone gave for its present bytes. */
export interface FeatureRow {
  id: string;
  /** Class index; null: unknown. */
  knownLabel: number | null;
  /** −1: not classified yet. */
  prediction: number;
  /** As `packVector` made it, valid as long as the rows' memory; null: none. */
  vector: Buffer | null;
  /** Why the backbone gave none; null: it gave some, or was not asked for these bytes. */
  error: string | null;
}

export interface FeatureRowsRequest {
  /** Of a transaction that they were asked for with `FEATURE_COLUMNS` (`StoredImages.query`, `stream`). */
  images: ImagesInSql;
  backbone: number;
  selection?: Selection | undefined;
}

/** What is read of images here, as `SqlRequest` has it. */
export const FEATURE_COLUMNS = ['prediction', 'sha256'] as const;

/** How many images a selection has, by known label, and how many of them have features. */
export interface FeatureCounts {
  /** Class index; null: unknown. */
  knownLabel: number | null;
  images: number;
  /** With features. */
  present: number;
  /** The backbone failed on them. */
  failed: number;
}

/** Rows in memory at a time: 2.6 kB each, usually. */
const CHUNK = { rows: 2000, bytes: 4 * 1024 * 1024 };

// The selection by itself, as a user's condition names columns that features have, too. No order: the rows are not sorted.
const rowsSql = ({ images, backbone, selection }: FeatureRowsRequest) =>
  `(select i.dataset, i.id, i.known_label, i.prediction, i.sha256, i.ingested_at from ${selectionSql(images, selection)}) i
   ${joinFeatures(backbone)}`;

/**
 * The selected images with their features, as a stream in no order.
 * @param client of the images' transaction
 */
export async function* readFeatureRows(
  client: PoolClient,
  request: FeatureRowsRequest,
): AsyncGenerator<FeatureRow[]> {
  const statement = `select i.id, i.known_label, i.prediction, f.vector, f.error from ${rowsSql(request)}`;
  for await (const { bytes } of copyOut(client, statement, CHUNK)) {
    const rows: FeatureRow[] = [];
    const reader = new RowReader(bytes);
    while (reader.next()) {
      rows.push({
        id: reader.text()!,
        knownLabel: reader.int4(),
        prediction: reader.int4()!,
        vector: reader.bytea(),
        error: reader.text(),
      });
    }
    yield rows;
  }
}

/** Counts without reading a vector. @param client as for `readFeatureRows` */
export async function countFeatures(
  client: PoolClient,
  request: FeatureRowsRequest,
): Promise<FeatureCounts[]> {
  const { rows } = await client.query<FeatureCounts>(
    `select i.known_label as "knownLabel", count(*) as images,
            count(*) filter (where f.id is not null and f.error is null) as present, count(f.error) as failed
       from ${rowsSql(request)} group by 1 order by 1`,
  );
  return rows;
}

/** One image with its features. @returns null: there is no such image */
export async function readFeatureRow(
  db: Queryable,
  { images: { dataset, relation }, backbone }: Omit<FeatureRowsRequest, 'selection'>,
  id: string,
): Promise<FeatureRow | null> {
  const { rows } = await db.query<FeatureRow>(
    `select i.id, i.known_label as "knownLabel", i.prediction, f.vector, f.error
       from ${relation} i ${joinFeatures(backbone)} where i.dataset = $1 and i.id = $2`,
    [dataset, id],
  );
  return rows[0] ?? null;
}

/** Names of the backbones by which images of the dataset have features. */
export async function backbonesUsed(db: Queryable, dataset: string): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    `select b.name from imagehub.backbones b
      where exists (select from imagehub.features f where f.backbone_id = b.id and f.dataset = $1) order by b.name`,
    [dataset],
  );
  return rows.map(({ name }) => name);
}
