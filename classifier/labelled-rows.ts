import pg from 'pg';
import { HubError } from '../errors.ts';
import type { PoolClient } from '../sql/database.ts';
import type { Dataset } from '../sql/datasets.ts';
import { describeSelection, drawByClass, narrowed, type Selection, selectionSql } from '../sql/selection.ts';
import type { ImagesInSql } from '../sql/stored-images.ts';

/** Which labelled images of a dataset to train on. */
export interface LabelledRows extends Selection {
  /** Fewer classes than this (default 2) are refused: nothing could be learned. */
  leastClasses?: number | undefined;
  /** At most so many, drawn by `seed`: the same rows give the same draw. */
  limit?: number | null | undefined;
  seed?: number | undefined;
}

/** What `LabelledRows` come to. */
export interface ChosenRows {
  /** Them alone, as `selectionSql` gives rows. */
  selection: Selection;
  /** Images per class, in class order. */
  perClass: number[];
  total: number;
}

/**
 * Finds the images to train on.
 * @param client in a transaction that is read only, after `checkCondition`
 * @throws HubError USAGE when they are none, or of too few classes
 */
export async function chooseLabelled(
  client: PoolClient,
  images: ImagesInSql,
  dataset: Dataset,
  { limit, seed = 0, leastClasses = 2, ...selected }: LabelledRows,
): Promise<ChosenRows> {
  const drawn = await drawByClass(client, images, selected);
  const labelled = narrowed({ ...selected, drawn }, 'i.known_label is not null');
  const highest = await highestDrawn(client, selectionSql(images, labelled), limit ?? null, seed);
  const selection = highest === null ? labelled : narrowed(labelled, highest);
  const { rows } = await client.query<{ label: number; images: number }>(
    `select i.known_label as label, count(*) as images from ${selectionSql(images, selection)} group by i.known_label`,
  );
  const perClass = dataset.classes.map((_, index) => rows.find(({ label }) => label === index)?.images ?? 0);
  const total = perClass.reduce((sum, of) => sum + of, 0);
  checkCounts(dataset, total, perClass, leastClasses, selected);
  return { selection, perClass, total };
}

/**
 * Draws by a hash of the ids, not the first ids: those are often all of one class.
 * @returns what holds for the rows that are drawn alone, which needs no list of them; null: for all
 */
async function highestDrawn(
  client: PoolClient,
  from: string,
  limit: number | null,
  seed: number,
): Promise<string | null> {
  if (limit === null) return null;
  const hash = `hashtextextended(i.id, ${seed})`;
  const { rows } = await client.query<{ hash: string; id: string }>(
    `select ${hash}::text as hash, i.id from ${from} order by ${hash}, i.id offset ${limit - 1} limit 1`,
  );
  const last = rows[0];
  return last ? `(${hash}, i.id) <= ('${last.hash}'::bigint, ${pg.escapeLiteral(last.id)})` : null;
}

function checkCounts(
  { name, classes }: Dataset,
  total: number,
  perClass: number[],
  leastClasses: number,
  selection: Selection,
): void {
  const present = classes.filter((_, index) => perClass[index]! > 0);
  if (present.length >= leastClasses) return;
  const selected = describeSelection(selection);
  const which = selected && ` where ${selected}`;
  throw new HubError(
    'USAGE',
    total === 0
      ? `There are no labelled images in ${name}${which}.`
      : `All ${total} labelled images in ${name}${which} are of class ${present[0]}; training needs at least two classes.`,
    {
      hint:
        `Send images with known labels, or label some: imagehub relabel ${name} --id … --class …` +
        (selected ? '; or select others.' : '.'),
    },
  );
}
