import pg from 'pg';
import { errorText, HubError } from '../errors.ts';
import { type ClientBase, errorCode, type Pool } from './database.ts';
import { type ImagesInSql, partitionOf, type StoredImages } from './stored-images.ts';

/** A part of the images, drawn by chance: the same seed draws the same ones, and of a larger share more. */
export interface Sample {
  /** 0 (none) to 1 (all). */
  share: number;
  seed: number;
  /** That share of each class, rounded up, by known label; images without one are a class of their own. */
  byClass: boolean;
}

/**
 * What a sample by class has come to: the highest hash drawn of each class (text: it has 63 bits), by class index, −1 for images
 * without a known label. Whoever reads in parts needs it: what a class has of images may change from one to the next.
 */
export type DrawnHashes = Record<string, string>;

/** Which images of a dataset a command is about; left out: all. */
export interface Selection {
  /** A condition in SQL over the dataset's columns, as a user wrote it. */
  where?: string | null | undefined;
  /** Ingested at or after this. */
  since?: Date | null | undefined;
  /** Ingested before this. */
  until?: Date | null | undefined;
  /** Of those a part. */
  sample?: Sample | null | undefined;
  /** Instead of drawing that by class again. */
  drawn?: DrawnHashes | undefined;
  /** Of what is drawn only that: a condition of our own, while `where` says what is drawn from. */
  condition?: string | undefined;
}

/** Of a selection only images that conditions of ours hold for, too. */
export function narrowed(selection: Selection, ...conditions: string[]): Selection {
  const all = [...(selection.condition ? [selection.condition] : []), ...conditions];
  return { ...selection, condition: all.map((each) => `(${each})`).join(' and ') };
}

/** A selection as it is kept in JSON: in jobs, runs, exports. */
export interface KeptSelection {
  where: string | null;
  /** ISO 8601; by `ingested_at`, [since, until). */
  since: string | null;
  until: string | null;
  /** Left out: all of them. */
  sample?: Sample;
}

export const keepSelection = ({ where, since, until, sample }: Selection): KeptSelection => ({
  where: where ?? null,
  since: since?.toISOString() ?? null,
  until: until?.toISOString() ?? null,
  ...(sample && { sample }),
});

export const keptSelection = ({ where, since, until, sample }: KeptSelection): Selection => ({
  where,
  since: since === null ? null : new Date(since),
  until: until === null ? null : new Date(until),
  sample: sample ?? null,
});

/** A dataset by its name is one in Postgres. */
type Images = string | ImagesInSql;
const inSql = (images: Images): ImagesInSql => (typeof images === 'string' ? partitionOf(images) : images);

/**
 * The selected rows, for use after FROM or as the end of `select … from`, where more may follow with AND: the table is
 * called `i`. All values stand in the text, as COPY takes no parameters. A user's condition is run only after
 * `checkCondition`, and only in a transaction that is read only.
 */
export function selectionSql(images: Images, selection: Selection = {}): string {
  const { dataset, relation } = inSql(images);
  const { where, since, until, sample, condition } = selection;
  const conditions = [`i.dataset = ${pg.escapeLiteral(dataset)}`];
  if (since) conditions.push(`i.ingested_at >= ${pg.escapeLiteral(since.toISOString())}`);
  if (until) conditions.push(`i.ingested_at < ${pg.escapeLiteral(until.toISOString())}`);
  // The line break ends a comment in the condition.
  if (where) conditions.push(`(${where}\n)`);
  if (sample && sample.share < 1) conditions.push(sampleSql(images, selection, sample));
  if (condition) conditions.push(`(${condition})`);
  return `${relation} i where ${conditions.join(' and ')}`;
}

/** What `hashtextextended` gives, without its sign, is below this. */
const HASHES = 2n ** 63n;
/** Shares are exact up to this. */
const PARTS = 2n ** 53n;

const hashSql = (seed: number): string => `(hashtextextended(i.id, ${seed}) & ${HASHES - 1n})`;

/** Whether an image `i` is in the sample: a hash of its id and the seed decides, whatever other images there are. */
function sampleSql(images: Images, selection: Selection, sample: Sample): string {
  const { share, seed, byClass } = sample;
  const hash = hashSql(seed);
  if (!byClass) return `${hash} < ${(BigInt(Math.round(share * Number(PARTS))) * HASHES) / PARTS}`;
  if (!selection.drawn) return `i.id in (select id from ${drawnSql(images, selection, sample)})`;
  const highest = Object.entries(selection.drawn).map(([label, of]) => `when ${label} then ${of}`);
  return highest.length > 0
    ? `${hash} <= case coalesce(i.known_label, -1) ${highest.join(' ')} else -1 end`
    : 'false';
}

/** The sample by class, as a FROM item with id, label and hash: numbered within their class, by the hash. */
function drawnSql(images: Images, selection: Selection, { share, seed }: Sample): string {
  const all = { ...selection, sample: null, condition: undefined };
  return `(select * from (
    select i.id, i.known_label as label, ${hashSql(seed)} as hash,
           row_number() over (partition by i.known_label order by ${hashSql(seed)}, i.id) as place,
           count(*) over (partition by i.known_label) as images
      from ${selectionSql(images, all)}) numbered where place <= ceil(images * ${share})) drawn`;
}

/**
 * Draws a sample by class, so that it is the same in all parts of what reads it and is not drawn again in each.
 * @param client in a transaction that is read only, after `checkCondition`
 * @returns undefined where there is nothing to draw by class
 */
export async function drawByClass(
  client: ClientBase,
  images: Images,
  selection: Selection,
): Promise<DrawnHashes | undefined> {
  const { sample } = selection;
  if (!sample?.byClass || sample.share >= 1) return undefined;
  const { rows } = await client.query<{ label: number; hash: string }>(
    `select coalesce(label, -1) as label, max(hash)::text as hash from ${drawnSql(images, selection, sample)} group by 1`,
  );
  return Object.fromEntries(rows.map(({ label, hash }) => [label, hash]));
}

/**
 * Has the database read the selection's condition, without running it on any image: it must be one, and no more. That it
 * writes, or fails on an image, shows where it is run: see `selectionError`.
 * @param client in a transaction that is read only, which fails where this throws
 * @param option the condition's, for the message
 * @throws HubError USAGE
 */
export async function checkCondition(
  client: ClientBase,
  images: Images,
  selection: Selection = {},
  option?: string,
): Promise<void> {
  if (!selection.where) return;
  try {
    // A statement with parameters is one statement: what would end it, or begin another, is refused here. And
    // `true) or (true` is no condition, though it fits between parentheses: it would free itself from those around it. What
    // fits between brackets of another kind as well has none of its own that are open.
    await client.query(
      `select $1::int from ${selectionSql(images, selection)} and (array[${selection.where}\n]::boolean[])[1] limit 0`,
      [0],
    );
  } catch (error) {
    throw selectionError(error, inSql(images).dataset, selection, option);
  }
}

/**
 * Runs the selection's condition on all images, so that what is wrong with it is known before anything is begun.
 * @param client as for `checkCondition`
 * @param option the condition's, for the message
 * @returns how many images are selected
 * @throws HubError USAGE
 */
export async function checkSelection(
  client: ClientBase,
  images: Images,
  selection: Selection = {},
  option?: string,
): Promise<number> {
  await checkCondition(client, images, selection, option);
  try {
    const { rows } = await client.query<{ images: number }>(
      `select count(*) as images from ${selectionSql(images, selection)}`,
    );
    return rows[0]!.images;
  } catch (error) {
    throw selectionError(error, inSql(images).dataset, selection, option);
  }
}

/**
 * Runs the condition of a selection that is to be used later, if it has one, so that what is wrong with it is known now.
 * @throws HubError USAGE
 */
export async function checkBeforehand(
  images: StoredImages,
  pool: Pool,
  dataset: string,
  selection: Selection,
  option?: string,
): Promise<void> {
  if (!selection.where) return;
  await images.query(pool, { dataset, selection, option }, (client, inSql) =>
    checkSelection(client, inSql, selection, option),
  );
}

/** What a failed statement with a selection in it is to the user: their condition's fault, or the error as it is. */
export function selectionError(
  error: unknown,
  dataset: string,
  { where }: Selection,
  option = '--where',
): unknown {
  // 42: syntax error or access rule violation; 22: data exception; 25006: an attempt to write.
  if (!where || !/^(42|22|25006)/.test(errorCode(error) ?? '')) return error;
  return new HubError('USAGE', `The condition ${option} ${where} cannot be used: ${errorText(error)}`, {
    hint: `It is SQL over the columns of ${dataset}, e.g. ${option} "id like 'train/%'".`,
    cause: error,
  });
}

/** In words, for reports and records: `id like 'train%', since 2026-01-01T00:00:00.000Z`; empty: all images. */
export function describeSelection({ where, since, until, sample }: Selection): string {
  return [
    ...(where ? [where] : []),
    ...(since ? [`since ${since.toISOString()}`] : []),
    ...(until ? [`until ${until.toISOString()}`] : []),
    ...(sample
      ? [`a sample of ${sample.share}${sample.byClass ? ' of each class' : ''} by seed ${sample.seed}`]
      : []),
  ].join(', ');
}
