import type { PoolClient } from 'pg';
import { HubError } from '../errors.ts';
import type { Dataset } from '../sql/datasets.ts';
import { checkCondition, describeSelection, selectionError } from '../sql/selection.ts';

/** Which labelled images of a dataset to train on. */
export interface LabelledRows {
  /** A condition in SQL over the dataset's columns; null: every labelled row. */
  where?: string | null | undefined;
  /** Ingested at or after this, and before that. */
  since?: Date | null | undefined;
  until?: Date | null | undefined;
  /** Fewer classes than this (default 2) are refused: nothing could be learned. */
  leastClasses?: number | undefined;
  /** At most so many, drawn by `seed`: the same rows give the same draw. */
  limit?: number | null | undefined;
  seed?: number | undefined;
}

/** The rows to train on, as the FROM of a statement whose parameter is the dataset. */
export function chosenRows({ name }: Dataset, { where, since, until, limit, seed }: LabelledRows): string {
  const condition = [
    'dataset = $1 and known_label is not null',
    ...(since ? [`ingested_at >= '${since.toISOString()}'`] : []),
    ...(until ? [`ingested_at < '${until.toISOString()}'`] : []),
    // The line break ends a comment in the condition.
    ...(where ? [`(${where}\n)`] : []),
  ].join(' and ');
  if (limit === null || limit === undefined) return `public."${name}" where ${condition}`;
  // Not the first ids: those are often all of one class.
  return `public."${name}" where dataset = $1 and id in (
    select id from public."${name}" where ${condition} order by hashtextextended(id, ${seed ?? 0}), id limit ${limit})`;
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
      `select known_label as label, count(*) as images, max(octet_length(image_base64)) as widest
       from ${from} group by known_label`,
      [dataset.name],
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
  { where, since, until, leastClasses = 2 }: LabelledRows,
): void {
  const present = classes.filter((_, index) => perClass[index]! > 0);
  if (present.length >= leastClasses) return;
  const selected = describeSelection({ where, since, until });
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
