import { HubError } from '../../errors.ts';
import type { Pool } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { resolveModel } from '../../sql/models.ts';
import { describeSelection, type Selection } from '../../sql/selection.ts';
import { readStoredScores } from '../../sql/stored-scores.ts';
import { replaceSuspects, type Suspect } from '../../sql/suspects.ts';
import { trainingRunOf } from '../../sql/training-sets.ts';
import { findLabelIssues } from './confident-learning.ts';

export interface SuspectsContext {
  pool: Pool;
  stores: ImageStores;
  signal?: AbortSignal | undefined;
  /** Labelled images read so far. */
  onRead?: ((images: number) => void) | undefined;
}

/** What was looked at and what was found. */
export interface SuspectsReport {
  dataset: string;
  /** Whose scores they are. */
  model: number;
  /** Selected images with a known label; labelled = considered + withoutScores. */
  labelled: number;
  /** Of them with the model's scores: among these was looked. */
  considered: number;
  /** Of them without: nothing is said about these. */
  withoutScores: number;
  /** Of those considered, images that the model was trained on, whose scores hide errors; null: not known. */
  trainedOn: number | null;
  /** Estimated share of wrong labels among those considered. */
  noiseRate: number;
  /** All, most suspicious first; the same as in `imagehub.suspects`. */
  suspects: Suspect[];
}

/** Scores are kept in memory. */
const MOST_BYTES = 2 ** 30;
const FIRST_ROOM = 4096;

/**
 * Finds images whose known label is probably wrong from the stored scores of a model, and replaces the dataset's rows in
 * `imagehub.suspects` by them.
 * @param model number, or `live`, `previous`, `shadow`
 * @throws HubError NOT_FOUND; USAGE when the condition cannot be used, or no scores are stored; INTERRUPTED
 */
export async function findSuspects(
  context: SuspectsContext,
  name: string,
  model: number | string = 'live',
  selection: Selection = {},
): Promise<SuspectsReport> {
  const { pool, signal } = context;
  const { classes, store } = await getDataset(pool, name);
  const { model: number } = await resolveModel(pool, name, model);
  const trainingRun = await trainingRunOf(pool, number);
  const collected = new Scores(classes.length);
  let withoutScores = 0;
  for await (const rows of readStoredScores(context.stores[store].images, pool, {
    dataset: name,
    model: number,
    selection,
    trainingRun,
    signal,
  })) {
    for (const { id, knownLabel, scores, trained } of rows) {
      if (knownLabel === null) continue;
      if (scores) collected.add(id, knownLabel, scores, trained);
      else withoutScores += 1;
    }
    context.onRead?.(collected.images + withoutScores);
  }
  const { images } = collected;
  if (images === 0) throw nothingToSay(name, number, selection, withoutScores);
  const { issues, joint } = findLabelIssues(collected.labelled());
  const suspects = issues.map(({ place, ...issue }, rank) => ({
    rank: rank + 1,
    id: collected.ids[place]!,
    knownLabel: collected.labels[place]!,
    knownClass: classes[collected.labels[place]!]!,
    ...issue,
    suggestedClass: classes[issue.suggested]!,
    trainedOn: trainingRun === null ? null : collected.trained.has(place),
  }));
  await replaceSuspects(pool, name, number, suspects);
  const right = joint.reduce((sum, row, known) => sum + row[known]!, 0);
  return {
    dataset: name,
    model: number,
    labelled: images + withoutScores,
    considered: images,
    withoutScores,
    trainedOn: trainingRun === null ? null : collected.trained.size,
    noiseRate: 1 - right / images,
    suspects,
  };
}

/** Grows as rows come. */
class Scores {
  readonly #classes: number;
  #scores: Float32Array;
  readonly ids: string[] = [];
  readonly labels: number[] = [];
  readonly trained = new Set<number>();

  constructor(classes: number) {
    this.#classes = classes;
    this.#scores = new Float32Array(FIRST_ROOM * classes);
  }

  get images(): number {
    return this.ids.length;
  }

  add(id: string, label: number, scores: Float32Array, trained: boolean): void {
    const at = this.images * this.#classes;
    if (at === this.#scores.length) this.#grow();
    // Classes that were added to the dataset since then have no score.
    this.#scores.set(scores.subarray(0, this.#classes), at);
    if (trained) this.trained.add(this.images);
    this.ids.push(id);
    this.labels.push(label);
  }

  #grow(): void {
    const length = 2 * this.#scores.length;
    if (length * Float32Array.BYTES_PER_ELEMENT > MOST_BYTES) {
      throw new HubError(
        'USAGE',
        `The scores of more than ${this.images} images of ${this.#classes} classes do not fit into the 1 GiB that they may take.`,
        { hint: 'Look at a part of the images at a time, with --where, --since or --until.' },
      );
    }
    const larger = new Float32Array(length);
    larger.set(this.#scores);
    this.#scores = larger;
  }

  labelled() {
    const scores = this.#scores.subarray(0, this.images * this.#classes);
    return { labels: Int32Array.from(this.labels), scores, classes: this.#classes };
  }
}

function nothingToSay(dataset: string, model: number, selection: Selection, withoutScores: number): HubError {
  const shown = describeSelection(selection);
  const which = shown ? ` (${shown})` : '';
  if (withoutScores === 0) {
    return new HubError('USAGE', `There are no labelled images in ${dataset}${which}.`, {
      hint: `Label some: imagehub relabel ${dataset} --id … --class …`,
    });
  }
  return new HubError(
    'USAGE',
    `No scores of model ${model} are stored for the ${withoutScores} labelled images in ${dataset}${which}.`,
    {
      hint: `Have them made: imagehub predict ${dataset} --model ${model}. Datasets with classic columns keep none of the live model.`,
    },
  );
}
