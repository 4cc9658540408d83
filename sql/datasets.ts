import { HubError } from '../errors.ts';
import { getBackbone } from './backbones.ts';
import { type Pool, type PoolClient, type Queryable, errorCode, transaction } from './database.ts';
import { STORE_SUPPORT, type StoreName } from './image-store.ts';

/** What becomes of an image that is larger than its store takes: a dead letter, or a smaller rendition of it is stored. */
export type Oversized = 'dead-letter' | 'reduce';

export type LabelFrom = 'none' | 'first-character' | 'parent-folder' | 'regex';

/** A named collection of images: one topic, one class list, at most one live model. */
export interface Dataset {
  name: string;
  topic: string;
  store: StoreName;
  labelFrom: LabelFrom;
  /** Regular expression whose first group is the label; only with labelFrom `regex`. */
  labelPattern: string | null;
  pgmMaxSide: number;
  /** Grey value (0–255) that transparent images are laid on. */
  background: number;
  /** classic: images and predictions without scores, hashes and pixel statistics, for the fastest ingest. */
  columns: 'all' | 'classic';
  /** New images are stored without the place where they were taken. */
  stripLocation: boolean;
  /** Of a store without a limit always `dead-letter`. */
  oversized: Oversized;
  /** Class names in index order. */
  classes: string[];
  liveModelId: number | null;
  /** The candidate that predicts new images beside the live model. */
  shadowModelId: number | null;
  /** Rises with every promotion and roll-back; 0: never promoted. */
  promotionNo: number;
  /** Name of the backbone whose features new images get as they are ingested; null: none. */
  featuresBackbone: string | null;
}

const SELECT = `
  select d.name, d.topic, d.store, d.label_from as "labelFrom", d.label_pattern as "labelPattern",
         d.pgm_max_side as "pgmMaxSide", d.background, d.columns, d.strip_location as "stripLocation", d.oversized,
         d.live_model_id as "liveModelId", d.shadow_model_id as "shadowModelId",
         d.promotion_no as "promotionNo",
         (select b.name from imagehub.backbones b where b.id = d.features_backbone_id) as "featuresBackbone",
         array(select c.name from imagehub.classes c where c.dataset = d.name order by c.index) as classes
  from imagehub.datasets d`;

/**
 * Changes with everything that the making of a row depends on: which dataset of that name it is (dropped and made anew),
 * its live model, its classes, its shadow, its backbone, whether places are taken out, what becomes of what is too large. An
 * expression on imagehub.datasets as `d`.
 */
export const DATASET_VERSION = `concat_ws('/', extract(epoch from d.created_at), d.promotion_no,
  (select count(*) from imagehub.classes c where c.dataset = d.name), coalesce(d.shadow_model_id, 0), coalesce(d.features_backbone_id, 0),
  d.strip_location, d.oversized)`;

/** @returns null when there is no such dataset. */
export async function readDatasetVersion(db: Queryable, name: string): Promise<string | null> {
  const { rows } = await db.query<{ version: string }>(
    `select ${DATASET_VERSION} as version from imagehub.datasets d where d.name = $1`,
    [name],
  );
  return rows[0]?.version ?? null;
}

export async function listDatasets(db: Queryable): Promise<Dataset[]> {
  return (await db.query<Dataset>(`${SELECT} order by d.name`)).rows;
}

/** A dataset, wherever its images are. @throws HubError NOT_FOUND, with the names there are. */
export async function getDataset(db: Queryable, name: string): Promise<Dataset> {
  const { rows } = await db.query<Dataset>(`${SELECT} where d.name = $1`, [name]);
  if (rows[0]) return rows[0];
  const names = (await listDatasets(db)).map((dataset) => dataset.name);
  throw new HubError(
    'NOT_FOUND',
    `There is no dataset ${name}${names.length > 0 ? ` (there is: ${names.join(', ')})` : ''}.`,
    {
      hint: `Make it with: imagehub dataset create ${name} --classes 0..9`,
    },
  );
}

export type NewDataset = Pick<Dataset, 'name' | 'classes'> &
  Partial<
    Pick<
      Dataset,
      | 'topic'
      | 'store'
      | 'labelFrom'
      | 'labelPattern'
      | 'pgmMaxSide'
      | 'background'
      | 'columns'
      | 'featuresBackbone'
      | 'stripLocation'
      | 'oversized'
    >
  >;

/** PostgreSQL's limit for names is 63 bytes; ours leaves room for prefixes and suffixes. */
const NAME = /^[a-z][a-z0-9_]{0,40}$/;

/** Makes, or drops, what holds a dataset's images, as the last thing in the transaction that does so with the dataset. */
export type TableWork = (client: PoolClient, dataset: string) => Promise<unknown>;

const createPartition: TableWork = (client, name) =>
  client.query('select imagehub.create_image_partition($1)', [name]);

/**
 * Makes the dataset, its classes and its partition of `images`; the topic is the caller's to make.
 * @param createTable makes its table elsewhere, where the dataset's store is another
 */
export async function createDataset(
  pool: Pool,
  dataset: NewDataset,
  createTable: TableWork = createPartition,
): Promise<void> {
  const { name, classes, store = 'postgres', oversized = 'dead-letter' } = dataset;
  checkOversized(store, oversized);
  if (dataset.featuresBackbone) checkFeaturesKept({ name, store, columns: dataset.columns ?? 'all' });
  if (!NAME.test(name)) {
    throw new HubError('USAGE', `“${name}” cannot be a dataset’s name.`, {
      hint: 'Use a lower-case letter followed by at most 40 lower-case letters, digits or underscores.',
    });
  }
  if (new Set(classes).size < classes.length || classes.some((c) => c === '' || c.includes('\0'))) {
    throw new HubError('USAGE', 'Class names must not be empty and each may stand only once.');
  }
  await transaction(pool, async (client) => {
    const taken = await client.query<{ kind: string }>(
      `select 'word of SQL' as kind from pg_get_keywords() where word = $1 and catcode in ('R', 'T')
       union all select 'table or view in this database' from pg_class where relname = $1 and relnamespace in ('public'::regnamespace, 'imagehub'::regnamespace, 'pg_catalog'::regnamespace)
         and not exists (select from imagehub.datasets where name = $1)`,
      [name],
    );
    if (taken.rows[0]) {
      throw new HubError('USAGE', `“${name}” is already a ${taken.rows[0].kind}.`, {
        hint: 'Choose another name.',
      });
    }
    await client.query(
      `insert into imagehub.datasets (name, topic, label_from, label_pattern, pgm_max_side, background, columns, features_backbone_id, strip_location, store, oversized)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [
        name,
        dataset.topic ?? name,
        dataset.labelFrom ?? 'none',
        dataset.labelPattern ?? null,
        dataset.pgmMaxSide ?? 256,
        dataset.background ?? 255,
        dataset.columns ?? 'all',
        dataset.featuresBackbone ? (await getBackbone(client, dataset.featuresBackbone)).id : null,
        dataset.stripLocation ?? false,
        store,
        oversized,
      ],
    );
    await client.query(
      'insert into imagehub.classes (dataset, index, name) select $1, ordinality - 1, class from unnest($2::text[]) with ordinality as t (class)',
      [name, classes],
    );
    await createTable(client, name);
  }).catch((error: unknown) => {
    if (errorCode(error) !== '23505') throw error;
    throw new HubError(
      'ALREADY_EXISTS',
      `Dataset ${name} (or another one on topic ${dataset.topic ?? name}) exists already.`,
      {
        hint: `imagehub dataset show ${name}`,
        cause: error,
      },
    );
  });
}

/**
 * From now on new images get features by the backbone as they are ingested; null: by none. Those that are there keep theirs.
 * @throws HubError NOT_FOUND: the dataset, or the backbone; NOT_SUPPORTED: see `checkFeaturesKept`
 */
export async function setFeaturesBackbone(
  db: Queryable,
  name: string,
  backbone: string | null,
): Promise<void> {
  const dataset = await getDataset(db, name);
  if (backbone !== null) checkFeaturesKept(dataset);
  const id = backbone === null ? null : (await getBackbone(db, backbone)).id;
  await db.query('update imagehub.datasets set features_backbone_id = $2 where name = $1', [name, id]);
}

/**
 * From now on new images are stored without, or with, the place where they were taken; those that are there stay as they are.
 * @throws HubError NOT_FOUND
 */
export async function setStripLocation(db: Queryable, name: string, strip: boolean): Promise<void> {
  await getDataset(db, name);
  await db.query('update imagehub.datasets set strip_location = $2 where name = $1', [name, strip]);
}

/**
 * From now on new images that are larger than the store takes are dead letters, or reduced; those that are there stay.
 * @throws HubError NOT_FOUND; NOT_SUPPORTED: its store takes images of any size
 */
export async function setOversized(db: Queryable, name: string, oversized: Oversized): Promise<void> {
  checkOversized((await getDataset(db, name)).store, oversized);
  await db.query('update imagehub.datasets set oversized = $2 where name = $1', [name, oversized]);
}

/**
 * Features can be kept where something tells whether they are of an image's present bytes: its hash, or times by one clock.
 * @throws HubError NOT_SUPPORTED
 */
export function checkFeaturesKept({
  name,
  store,
  columns,
}: Pick<Dataset, 'name' | 'store' | 'columns'>): void {
  if (columns === 'all' || STORE_SUPPORT[store].databaseTime) return;
  throw new HubError(
    'NOT_SUPPORTED',
    `Images of ${name} are in Kudu with classic columns, without a hash: nothing tells which of their bytes features are of.`,
    { hint: 'Features are for datasets with all columns (--columns all), or in Postgres.' },
  );
}

/** @throws HubError NOT_SUPPORTED: the store takes images of any size */
function checkOversized(store: StoreName, oversized: Oversized): void {
  if (oversized === 'dead-letter' || !STORE_SUPPORT[store].anySize) return;
  throw new HubError('NOT_SUPPORTED', 'Postgres takes images of any size: there is nothing to reduce.', {
    hint: 'Leave --oversized out; it is for datasets in Kudu.',
  });
}

/**
 * Drops the dataset with its images, features, models, dead letters and offsets; the topic and the index are the caller's.
 * @param dropTable drops its table elsewhere, where the dataset's store is another
 */
export async function dropDataset(pool: Pool, name: string, dropTable?: TableWork): Promise<void> {
  await transaction(pool, async (client) => {
    const { store } = await getDataset(client, name);
    if (!dropTable && !STORE_SUPPORT[store].sql) throw new Error(`the images of ${name} are not in Postgres`);
    await client.query(
      'update imagehub.datasets set live_model_id = null, shadow_model_id = null where name = $1',
      [name],
    );
    await client.query('select imagehub.drop_predictions(id) from imagehub.models where dataset = $1', [
      name,
    ]);
    await client.query('delete from imagehub.promotions where dataset = $1', [name]);
    if (!dropTable) await client.query(`drop table public."${name}"`);
    await client.query('delete from imagehub.deleted_images where dataset = $1', [name]);
    await client.query('delete from imagehub.label_changes where dataset = $1', [name]);
    await client.query('delete from imagehub.pending_labels where dataset = $1', [name]);
    await client.query('delete from imagehub.features where dataset = $1', [name]);
    await client.query('delete from imagehub.datasets where name = $1', [name]);
    await dropTable?.(client, name);
  });
}
