import { errorText, HubError } from '../../errors.ts';
import type { Attempt, Job, JobContext, JobKind, Part, Workshop, WritePart } from '../../jobs/job.ts';
import { PartInterrupted } from '../../jobs/job.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import { deleteCheckpoint, readCheckpoint, saveCheckpoint } from '../../sql/checkpoints.ts';
import { type PoolClient, transaction } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { changeState } from '../../sql/jobs.ts';
import { finishRun, stopRun } from '../../sql/runs.ts';
import * as cells from '../../sql/sweeps.ts';
import { recordTrainingSet } from '../../sql/training-sets.ts';
import { heldOut } from '../train/train.ts';
import { backboneOf, checkSameBackbone, networkTask } from './cell-network.ts';
import { openCellRun } from './cell-run.ts';
import { checkFeatures } from './check-features.ts';
import type { CellOutcome } from './cell-thread.ts';
import { CellThreads, threadsPerCell } from './cell-threads.ts';
import { type CellSettings, planCells } from './plan.ts';
import { hashOf, type SweepSpec } from './spec.ts';
import { SweepData, type WindowData } from './sweep-data.ts';
import { dataWindows } from './windows.ts';

/** What a part of a sweep's job is: one training. */
export interface SweepPart {
  sweep: number;
  cell: number;
}

type Finished = Extract<CellOutcome, { outcome: 'done' | 'diverged' }>;

/**
 * A grid of trainings, each a part. Its counts: `trained`, `diverged` (trained too, and a result), `skipped` (the same
 * settings on the same images were computed before), `failed` (could not be trained, e.g. for want of images).
 */
export const SWEEP_JOB: JobKind<SweepSpec, SweepPart> = {
  kind: 'sweep',
  unit: 'billion multiplications',

  /** Stores the sweep and its cells; those that are there already stay as they are. */
  async cut(context: JobContext, { dataset: name, parameters: spec }): Promise<Part<SweepPart>[]> {
    const { pool } = context;
    const dataset = await getDataset(pool, name);
    const windows = await dataWindows(context, dataset, spec);
    const backbone = await backboneOf(pool, spec);
    if (backbone) await checkFeatures(context, dataset, backbone, spec);
    const planned = planCells(dataset, spec, windows, backbone);
    // How many networks are kept is not what is computed; with another class all of them are others.
    const specHash = hashOf({ ...spec, keep: null, classes: dataset.classes.length });
    const stored = await transaction(pool, async (client) => {
      const sweep = await cells.storeSweep(client, { dataset: name, spec, specHash }, planned);
      await takeOver(client, sweep.sweep);
      return sweep;
    });
    return planned.map(({ units }, index) => ({
      what: { sweep: stored.sweep, cell: stored.cells[index]! },
      units,
    }));
  },

  async open(context: JobContext, job: Job<SweepSpec>): Promise<Workshop<SweepSpec, SweepPart>> {
    const dataset = await getDataset(context.pool, job.dataset);
    return new SweepWorkshop(context, job, dataset, await backboneOf(context.pool, job.parameters));
  },

  describe: ({ sweep, cell }: SweepPart) => `cell ${cell} of sweep ${sweep}`,
};

/**
 * Ends what earlier jobs of a sweep have left open: the one that is being started does it.
 * @throws HubError CONFLICT while one of its trainings goes on
 */
async function takeOver(client: PoolClient, sweep: number): Promise<void> {
  if (await cells.isBeingTrained(client, sweep)) {
    const [job] = await cells.openJobs(client, sweep);
    throw new HubError('CONFLICT', `Sweep ${sweep} is being worked on already.`, {
      hint: job === undefined ? 'imagehub job list' : `Look on: imagehub job watch ${job}`,
    });
  }
  for (const job of await cells.openJobs(client, sweep)) {
    await changeState(
      client,
      job,
      ['waiting', 'running', 'paused'],
      'cancelled',
      'Its sweep was started anew.',
    );
  }
}

/** Trains the cells that this process takes: images are read once, each network has a thread. */
class SweepWorkshop implements Workshop<SweepSpec, SweepPart> {
  readonly #context: JobContext;
  readonly #dataset: Dataset;
  readonly #job: Job<SweepSpec>;
  readonly #data: SweepData;
  readonly #threads: CellThreads;
  readonly #backbone: StoredBackbone | null;

  constructor(context: JobContext, job: Job<SweepSpec>, dataset: Dataset, backbone: StoredBackbone | null) {
    this.#context = context;
    this.#dataset = dataset;
    this.#job = job;
    this.#backbone = backbone;
    const { maxPixels } = context.config;
    this.#data = new SweepData(context, dataset, job.parameters, { maxPixels, backbone });
    this.#threads = new CellThreads(context.config.jobParts, context.log);
  }

  async work({ what, signal, stopping }: Attempt<SweepSpec, SweepPart>): Promise<WritePart> {
    const { pool } = this.#context;
    const { keep } = this.#job.parameters;
    const cell = await cells.getCell(pool, what.sweep, what.cell);
    const settings = cell.settings as unknown as CellSettings;
    if (settings.classes !== this.#dataset.classes.length) throw otherClasses(this.#dataset, cell.sweep);
    checkSameBackbone(settings, this.#backbone);
    let data: WindowData;
    try {
      data = await this.#data.window(cell, settings.options.seed);
    } catch (error) {
      return this.#failed(cell, null, error);
    }
    if (cells.isComputed(cell, data.sha256)) return skip;
    const same = await cells.findComputed(pool, this.#dataset.name, cell, data.sha256);
    if (same) {
      return async (client) => {
        await cells.lockSweep(client, cell.sweep);
        await cells.copyResult(client, cell, same);
        await cells.trimNetworks(client, cell.sweep, keep);
        return { skipped: 1 };
      };
    }
    return this.#train(cell, settings, data, AbortSignal.any([signal, stopping]));
  }

  async #train(
    cell: cells.Cell,
    settings: CellSettings,
    data: WindowData,
    signal: AbortSignal,
  ): Promise<WritePart> {
    const { pool, config, log } = this.#context;
    const { training } = data;
    const network = networkTask(this.#dataset, settings, data, this.#backbone);
    const { manifest } = network;
    await using open = await openCellRun(pool, this.#dataset, cell, settings, data);
    const { run } = open;
    try {
      if (!(await cells.beginCell(pool, cell, run, data.sha256))) {
        await stopRun(pool, run, 'cancelled', 'Another job was quicker.');
        return skip;
      }
      const kept = heldOut(training.labels.length, settings.options);
      await recordTrainingSet(pool, { run, dataset: this.#dataset.name }, training, kept);
      const from = (await readCheckpoint(pool, run)) ?? null;
      if (from) log.info({ sweep: cell.sweep, cell: cell.cell, run }, 'goes on from its checkpoint');
      const outcome = await this.#threads.train(
        {
          ...network,
          options: settings.options,
          threads: threadsPerCell(config),
          device: this.#job.device,
          from,
          checkpointSeconds: config.checkpointSeconds,
        },
        { signal, onCheckpoint: (checkpoint) => saveCheckpoint(pool, run, checkpoint) },
      );
      if (outcome.outcome === 'interrupted') {
        await stopRun(pool, run, 'cancelled', 'Interrupted; the sweep goes on from here.');
        await cells.releaseCell(pool, cell, run);
        throw new PartInterrupted();
      }
      if (outcome.outcome === 'refused') {
        throw new HubError(outcome.code, outcome.message, outcome.hint ? { hint: outcome.hint } : {});
      }
      await finishRun(pool, run, { ...outcome.metrics, error: outcome.error });
      return this.#finished(cell, run, data, manifest, outcome);
    } catch (error) {
      if (error instanceof PartInterrupted) throw error;
      await stopRun(pool, run, 'failed', errorText(error));
      await cells.releaseCell(pool, cell, run);
      return this.#failed(cell, run, error);
    }
  }

  #finished(cell: cells.Cell, run: number, data: WindowData, manifest: object, outcome: Finished): WritePart {
    const { metrics, onnx, error } = outcome;
    const test = metrics?.test;
    const result = {
      dataSha256: data.sha256,
      trainImages: metrics?.trainImages ?? (outcome as { trainImages: number }).trainImages,
      testImages: metrics?.testImages ?? data.test?.labels.length ?? 0,
      accuracy: test?.accuracy ?? null,
      precision: test?.macro.precision ?? null,
      recall: test?.macro.recall ?? null,
      f1: test?.macro.f1 ?? null,
      logLoss: test?.logLoss ?? null,
      trainAccuracy: metrics?.trainAccuracy ?? null,
      seconds: metrics?.seconds ?? 0,
      error,
      onnx: outcome.outcome === 'done' ? onnx : null,
      manifest,
    };
    const { outcome: state } = outcome;
    return async (client) => {
      await cells.lockSweep(client, cell.sweep);
      await cells.finishCell(client, cell, run, state, result);
      await deleteCheckpoint(client, run);
      await cells.trimNetworks(client, cell.sweep, this.#job.parameters.keep);
      return { trained: 1, ...(state === 'diverged' && { diverged: 1 }) };
    };
  }

  /**
   * What is wrong with one cell (too few images of its window, say) is its result, and the others go on. What is wrong
   * with all of them, or may pass, is the job's to deal with.
   */
  #failed(cell: cells.Cell, run: number | null, error: unknown): WritePart {
    if (!(error instanceof HubError) || (error.code !== 'USAGE' && error.code !== 'BAD_IMAGE')) throw error;
    const text = error.hint ? `${error.message} ${error.hint}` : error.message;
    return async (client) => {
      await cells.failCell(client, cell, { run, error: text });
      return { failed: 1 };
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#threads[Symbol.asyncDispose]();
  }
}

const skip: WritePart = () => Promise.resolve({ skipped: 1 });

const otherClasses = ({ name }: Dataset, sweep: number): HubError =>
  new HubError('CONFLICT', `Classes were added to ${name} since sweep ${sweep} was started.`, {
    hint: 'Start it again: its networks need an output for each class.',
  });
