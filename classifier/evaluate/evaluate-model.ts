import { errorText, HubError } from '../../errors.ts';
import { type Pool, transaction } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import { recordJudgements, setRunModel } from '../../sql/evaluations.ts';
import { resolveModel } from '../../sql/models.ts';
import { isStoredSql, readStoredScores, type ScoredRow } from '../../sql/stored-scores.ts';
import { finishRun, startRun, stopRun } from '../../sql/runs.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { keepSelection, narrowed, type Selection } from '../../sql/selection.ts';
import { loadModelRef } from '../model-ref.ts';
import { classifyStored, type StoredBatch, type StoredClassifier } from '../stored/classify-stored.ts';
import { countRows, judgedSelection, refuseEmpty, type RowCounts, trainedBy } from './evaluated-rows.ts';
import { FigureCounter, type Figures, type JudgedImage } from './figures.ts';
import { encodeKeys, JudgedSetBuilder } from './judged-set.ts';

export interface EvaluationContext {
  pool: Pool;
  stores: ImageStores;
  classifier: StoredClassifier;
  /** Aborted: the run is recorded as cancelled. */
  signal?: AbortSignal | undefined;
  /** Images judged so far, of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface EvaluationOptions {
  /** Judge the images too that the model was trained on. */
  includeTrained?: boolean | undefined;
  /** Take stored predictions of the model for the same bytes instead of making them again. */
  reuse?: boolean | undefined;
  /** Leave out what these models were trained on as well, so that all of them are judged on the same images. */
  alsoUnseenBy?: number[] | undefined;
  /** Count images that it fails on as wrong, where they are left out of the figures otherwise. */
  failedAreWrong?: boolean | undefined;
}

/** What a model makes of the selected images whose label is known. */
export interface Evaluation extends Figures {
  /** Its number in `imagehub.runs`. */
  run: number;
  dataset: string;
  model: number;
  selection: { where: string | null; since: string | null; until: string | null };
  /** Selected images; those of them without a known label are not judged. */
  selected: number;
  unlabelled: number;
  /** What the model was trained on: the same bytes under the same id. Rows held out for validation are not among it. */
  trained: {
    /** false: where it came from is not known, and so nothing could be left out. */
    known: boolean;
    /** Such labelled images in the selection. */
    images: number;
    /** Whether the figures include them. */
    included: boolean;
    /** Of those included: rightly classified. */
    correct: number | null;
    /** Of those included, a few that were classified wrongly all the same. */
    mistakes: string[];
  };
  failed: {
    /** Images that could not be decoded or classified. */
    images: number;
    examples: { id: string; reason: string }[];
    /** Whether the figures count them, as wrong. */
    included: boolean;
  };
  /** Images whose stored predictions were taken. */
  reused: number;
  /** All of it. */
  seconds: number;
  /** Read, decoded and classified; null: all predictions were stored ones. */
  imagesPerSecond: number | null;
}

const NAMED = 5;

/**
 * Runs a model over stored images and compares what it says with their known labels. By default images that it was
 * trained on are left out and counted. The result is kept as a run of kind `evaluate`.
 * @param model number, or `live`, `previous`, `shadow`
 * @throws HubError NOT_FOUND; USAGE when the condition cannot be used or nothing is left to judge; BAD_MODEL when it
 * fails on every image and that does not count as wrong; INTERRUPTED
 */
export async function evaluateModel(
  context: EvaluationContext,
  name: string,
  model: number | string,
  selection: Selection = {},
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { pool } = context;
  const { includeTrained = false, reuse = false, failedAreWrong = false } = options;
  const dataset = await getDataset(pool, name);
  const { images } = context.stores[dataset.store];
  const { model: number } = await resolveModel(pool, name, model);
  const ref = await loadModelRef(pool, number);
  const trained = await trainedBy(pool, [number, ...(includeTrained ? [] : (options.alsoUnseenBy ?? []))]);
  const counts = await countRows(images, pool, name, selection, trained, includeTrained);
  refuseEmpty(name, selection, counts, includeTrained);
  const head = {
    dataset: name,
    model: number,
    selection: keepSelection(selection),
  };
  const parameters = {
    ...head,
    includeTrained,
    reuse,
    alsoUnseenBy: options.alsoUnseenBy ?? [],
    failedAreWrong,
  };
  await using open = await startRun(pool, { dataset: name, kind: 'evaluate', parameters });
  const { run } = open;
  try {
    await setRunModel(pool, run, number);
    const judge = new Judge(dataset.classes, counts, { reuse, failedAreWrong });
    const started = performance.now();
    const total = includeTrained ? counts.labelled : counts.labelled - counts.trained;
    const judged = judgedSelection(selection, trained, includeTrained);
    const batches = classifyStored(context, context.classifier, {
      dataset,
      model: ref,
      selection: reuse ? narrowed(judged, `not ${isStoredSql(number)}`) : judged,
      signal: context.signal,
    });
    for await (const batch of batches) {
      judge.add(batch);
      context.onProgress?.(judge.done, total);
    }
    const classified = { images: judge.done, seconds: (performance.now() - started) / 1000 };
    if (reuse) {
      const { signal } = context;
      const request = { dataset: name, model: number, selection: judged, signal };
      for await (const rows of readStoredScores(images, pool, request)) {
        judge.addStored(rows);
        context.onProgress?.(judge.done, total);
      }
    }
    const seconds = (performance.now() - started) / 1000;
    const figures = judge.finish();
    const evaluation: Evaluation = {
      run,
      ...head,
      selected: counts.selected,
      unlabelled: counts.selected - counts.labelled,
      trained: {
        known: !trained.unknown.includes(number),
        images: counts.trained,
        included: includeTrained,
        correct: includeTrained ? judge.trainedCorrect : null,
        mistakes: judge.trainedMistakes,
      },
      failed: { ...judge.failed, included: failedAreWrong },
      ...figures,
      reused: judge.done - classified.images,
      seconds,
      imagesPerSecond: classified.images > 0 ? classified.images / classified.seconds : null,
    };
    const judgedSet = judge.images.finish();
    const { bytes: keys, sha256 } = encodeKeys(judgedSet.keys);
    await transaction(pool, async (client) => {
      const correct = Buffer.from(judgedSet.correct);
      await recordJudgements(
        client,
        { run, dataset: name },
        { keys, sha256, images: figures.images, correct },
      );
      const { run: _, ...metrics } = evaluation;
      await finishRun(client, run, metrics);
    });
    return evaluation;
  } catch (error) {
    const state = error instanceof HubError && error.code === 'INTERRUPTED' ? 'cancelled' : 'failed';
    // Where the database itself is what failed, that is what the caller should hear of.
    await stopRun(pool, run, state, errorText(error)).catch(() => undefined);
    throw error;
  }
}

/** Takes batches in and adds them up. */
class Judge {
  readonly #figures: FigureCounter;
  readonly #classes: number;
  readonly #trained: Set<string>;
  readonly #taken: Set<string> | undefined;
  readonly #failedAreWrong: boolean;
  readonly images = new JudgedSetBuilder();
  readonly failed: Omit<Evaluation['failed'], 'included'> = { images: 0, examples: [] };
  readonly trainedMistakes: string[] = [];
  trainedCorrect = 0;
  /** Images taken, failed ones too. */
  done = 0;

  /** @param reuse whether stored predictions come after the batches; @param failedAreWrong as in `EvaluationOptions` */
  constructor(
    classes: string[],
    { trainedIds }: RowCounts,
    { reuse, failedAreWrong }: { reuse: boolean; failedAreWrong: boolean },
  ) {
    this.#failedAreWrong = failedAreWrong;
    this.#taken = reuse ? new Set() : undefined;
    this.#figures = new FigureCounter(classes);
    this.#classes = classes.length;
    this.#trained = trainedIds;
  }

  add(batch: StoredBatch): void {
    for (let i = 0; i < batch.ids.length; i++) {
      const id = batch.ids[i]!;
      const known = batch.knownLabel[i]!;
      const predicted = batch.prediction[i]!;
      if (known < 0) continue;
      this.#taken?.add(id);
      this.done += 1;
      if (predicted < 0) {
        this.#fail(id, batch.errors.get(i) ?? 'not classified');
        if (!this.#failedAreWrong) continue;
        this.images.add(id, known, batch.sha256[i] ?? null, false);
        this.#figures.addFailed(known);
        continue;
      }
      const knownScore = batch.scores[i * this.#classes + known]!;
      const confidence = batch.confidence[i]!;
      this.#judge({ id, known, predicted, confidence, knownScore }, batch.sha256[i] ?? null);
    }
  }

  /** Predictions that are stored, but for images that came in a batch before. */
  addStored(rows: ScoredRow[]): void {
    for (const { id, knownLabel: known, prediction: predicted, confidence, scores, sha256 } of rows) {
      // Without scores: it came after the others were classified.
      if (known === null || scores === null || this.#taken?.has(id)) continue;
      this.done += 1;
      this.#judge({ id, known, predicted, confidence, knownScore: scores[known] ?? 0 }, sha256);
    }
  }

  #judge(image: JudgedImage, sha256: Uint8Array | null): void {
    const { id, known, predicted } = image;
    const correct = known === predicted;
    this.images.add(id, known, sha256, correct);
    if (this.#trained.has(id)) {
      if (correct) this.trainedCorrect += 1;
      else if (this.trainedMistakes.length < NAMED) this.trainedMistakes.push(id);
    }
    this.#figures.add(image);
  }

  #fail(id: string, reason: string): void {
    this.failed.images += 1;
    if (this.failed.examples.length < NAMED) this.failed.examples.push({ id, reason });
  }

  /** @throws HubError BAD_MODEL when nothing was classified. */
  finish(): Figures {
    const figures = this.#figures.finish();
    if (figures.images > 0) return figures;
    const [first] = this.failed.examples;
    throw new HubError(
      'BAD_MODEL',
      first
        ? `None of the ${this.failed.images} images could be classified; ${first.id}: ${first.reason}`
        : 'The images to judge were deleted meanwhile.',
      { hint: 'imagehub model show DATASET MODEL says what the model takes.' },
    );
  }
}
