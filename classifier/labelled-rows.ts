import type { PoolClient } from 'pg';
import { HubError } from '../errors.ts';
import type { Dataset } from '../sql/datasets.ts';
import {
  checkCondition,
  describeSelection,
  type Selection,
  selectionError,
  selectionSql,
} from '../sql/selection.ts';

/** Which labelled images of a dataset to train on. */
export interface LabelledRows extends Selection {
  /** Fewer classes than this (default 2) are refused: nothing could be learned. */
  leastClasses?: number | undefined;
  /** At most so many, drawn by `seed`: the same rows give the same draw. */
  limit?: number | null | undefined;
  seed?: number | undefined;
}

/** The rows to train on, as `selectionSql` gives rows. */
export function chosenRows({ name }: Dataset, { limit, seed, ...selection }: LabelledRows): string {
  const labelled = `${selectionSql(name, selection)} and i.known_label is not null`;
  if (limit === null || limit === undefined) return labelled;
  // Not the first ids: those are often all of one class.
  return `${selectionSql(name)} and i.id in (
    select i.id from ${labelled} order by hashtextextended(i.id, ${seed ?? 0}), i.id limit ${limit})`;
}

/** Images per class, and the most characters that one image has. */
export async function countRows(
  client: PoolClient,
  dataset: Dataset,
  options: LabelledRows,
): Promise<{ perClass: number[]; widest: number }> {
  // Before it is run: see there for what would free itself from the other conditions.
  await checkCondition(client, dataset.name, { where: options.where });
  const from = chosenRows(dataset, options);
  try {
    const { rows } = await client.query<{ label: number; images: number; widest: number }>(
      `select i.known_label as label, count(*) as images, max(octet_length(i.image_base64)) as widest
       from ${from} group by i.known_label`,
    );
    const perClass = dataset.classes.map(
      (_, index) => rows.find(({ label }) => label === index)?.images ?? 0,
    );
    return { perClass, widest: Math.max(1, ...rows.map(({ widest }) => widest)) };
  } catch (error) {
    throw selectionError(error, dataset.name, options);
  }
}

export function checkCounts(
  { name, classes }: Dataset,
  total: number,
  perClass: number[],
  { leastClasses = 2, ...selection }: LabelledRows,
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
        `Send images with known labels, or label some by hand: update ${name} set known_label = … where id = …` +
        (selected ? '; or select others.' : '.'),
    },
  );
}
