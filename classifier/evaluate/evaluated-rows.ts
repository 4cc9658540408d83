import { HubError } from '../../errors.ts';
import type { Pool } from '../../sql/database.ts';
import { describeSelection, narrowed, type Selection, selectionSql } from '../../sql/selection.ts';
import type { StoredImages } from '../../sql/stored-images.ts';
import { trainedOnSql, trainingRunOf } from '../../sql/training-sets.ts';

/** Which models' training rows are looked for among the selected images. */
export interface TrainedBy {
  /** Runs whose training rows are known. */
  runs: number[];
  /** Models of which that is not known: they came from elsewhere, or were trained before it was recorded. */
  unknown: number[];
}

export async function trainedBy(pool: Pool, models: number[]): Promise<TrainedBy> {
  const runs: number[] = [];
  const unknown: number[] = [];
  for (const model of models) {
    const run = await trainingRunOf(pool, model);
    if (run === null) unknown.push(model);
    else runs.push(run);
  }
  return { runs: [...new Set(runs)], unknown };
}

export interface RowCounts {
  /** Images that the selection is about. */
  selected: number;
  /** Of them with a known label, which alone can be judged. */
  labelled: number;
  /** Of those, images that one of the models was trained on. */
  trained: number;
  /** Their ids, if asked for. */
  trainedIds: Set<string>;
}

/**
 * Counts what a selection holds before models are run over it, and checks its condition.
 * @throws HubError USAGE
 */
export async function countRows(
  stored: StoredImages,
  pool: Pool,
  dataset: string,
  selection: Selection,
  { runs }: TrainedBy,
  withIds: boolean,
): Promise<RowCounts> {
  const isTrained = runs.map(trainedOnSql).join(' or ');
  return stored.query(pool, { dataset, selection, conditions: [isTrained] }, async (client, images) => {
    const selected = selectionSql(images, selection);
    const { rows } = await client.query<Omit<RowCounts, 'trained' | 'trainedIds'>>(
      `select count(*) as selected, count(i.known_label) as labelled from ${selected}`,
    );
    const counts = rows[0]!;
    const labelled = `${selected} and i.known_label is not null`;
    if (runs.length === 0) return { ...counts, trained: 0, trainedIds: new Set<string>() };
    const trained = `${labelled} and (${isTrained})`;
    if (withIds) {
      const { rows: found } = await client.query<{ id: string }>(`select i.id from ${trained}`);
      return { ...counts, trained: found.length, trainedIds: new Set(found.map(({ id }) => id)) };
    }
    const { rows: found } = await client.query<{ images: number }>(
      `select count(*) as images from ${trained}`,
    );
    return { ...counts, trained: found[0]!.images, trainedIds: new Set<string>() };
  });
}

/** The selection without what cannot be judged, and without what the models were trained on unless that is asked for. */
export function judgedSelection(
  selection: Selection,
  { runs }: TrainedBy,
  includeTrained: boolean,
): Selection {
  const unseen = includeTrained ? [] : runs.map((run) => `not ${trainedOnSql(run)}`);
  return narrowed(selection, 'i.known_label is not null', ...unseen);
}

/** @throws HubError USAGE that says why nothing is left to judge, and what to do. */
export function refuseEmpty(
  dataset: string,
  selection: Selection,
  { selected, labelled, trained }: RowCounts,
  includeTrained: boolean,
): void {
  const shown = describeSelection(selection);
  const which = shown ? ` (${shown})` : '';
  if (selected === 0) {
    throw new HubError('USAGE', `There are no images in ${dataset}${which}.`, {
      hint: shown
        ? 'Choose others with --where, --since and --until.'
        : `Send some: imagehub send ${dataset} …`,
    });
  }
  if (labelled === 0) {
    throw new HubError('USAGE', `None of the ${selected} images in ${dataset}${which} has a known label.`, {
      hint: `Label some: imagehub relabel ${dataset} --id … --class …`,
    });
  }
  if (includeTrained || labelled > trained) return;
  throw new HubError(
    'USAGE',
    `The model was trained on all ${labelled} labelled images in ${dataset}${which}: what it makes of them says little.`,
    {
      hint: 'Keep some out of training (imagehub train --validation, --where), or take them all the same with --include-trained.',
    },
  );
}
