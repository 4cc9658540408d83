import { HubError } from '../../errors.ts';
import type { JobContext } from '../../jobs/job.ts';
import { transaction } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import { type Cell, cellIsRegistered, getSweep, listCells, readNetwork } from '../../sql/sweeps.ts';
import { promote, type PromotionResult, registerModel } from '../registry.ts';
import { CellThreads, threadsPerCell } from './cell-threads.ts';
import { backboneOf, checkSameBackbone, networkTask, wholeModel } from './cell-network.ts';
import type { CellSettings } from './plan.ts';
import type { SweepSpec } from './spec.ts';
import { bestCell, type Metric, METRICS } from './summary.ts';
import { SweepData } from './sweep-data.ts';

export interface PromoteCellRequest {
  /** Default: accuracy; the best by it is taken. */
  metric?: Metric | undefined;
  /** Instead of the best. */
  cell?: number | undefined;
  /** Registers the model without making it live. */
  registerOnly?: boolean | undefined;
  reason?: string | null | undefined;
  signal?: AbortSignal | undefined;
}

export interface PromotedCell {
  sweep: number;
  cell: number;
  model: number;
  accuracy: number;
  /** Its network was not stored, and was trained again. */
  rebuilt: boolean;
  /** null: it was only registered. */
  promotion: PromotionResult | null;
}

/**
 * Registers the network of a sweep's best cell (or of a given one) as a model, and makes it live. One that was not kept is
 * trained again from its settings, which gives the same on the same machine and images.
 * @throws HubError NOT_FOUND, USAGE when the cell is not finished, CONFLICT when it would have to be trained again and the
 * images have changed, BAD_MODEL, INTERRUPTED
 */
export async function promoteCell(
  context: JobContext,
  dataset: string,
  sweep: number,
  request: PromoteCellRequest = {},
): Promise<PromotedCell> {
  const { pool } = context;
  const { spec } = await getSweep(pool, dataset, sweep);
  const cell = chooseCell(sweep, await listCells(pool, sweep), request);
  let model = cell.model;
  let rebuilt = false;
  let accuracy = cell.accuracy!;
  if (model === null) {
    const stored = await readNetwork(pool, sweep, cell.cell);
    rebuilt = stored === null;
    const trained = stored
      ? { onnx: stored, metrics: metricsOf(cell) }
      : await rebuild(context, dataset, cell, spec as unknown as SweepSpec, request);
    const settings = cell.settings as unknown as CellSettings;
    const network = { ...trained, onnx: await wholeModel(pool, settings, trained.onnx) };
    accuracy = network.metrics.validationAccuracy!;
    model = await transaction(pool, async (client) => {
      const version = await registerModel(client, {
        dataset,
        ...network,
        manifest: cell.manifest,
        runId: cell.run,
        source: `sweep ${sweep}, cell ${cell.cell}`,
      });
      await cellIsRegistered(client, sweep, cell.cell, version);
      return version;
    });
  }
  const reason =
    request.reason ?? `best of sweep ${sweep} by ${request.metric ?? 'accuracy'} (cell ${cell.cell})`;
  const promotion = request.registerOnly ? null : await promote(pool, dataset, model, reason);
  return { sweep, cell: cell.cell, model, accuracy, rebuilt, promotion };
}

function chooseCell(sweep: number, cells: Cell[], { metric = 'accuracy', cell }: PromoteCellRequest): Cell {
  if (!METRICS.includes(metric)) {
    throw new HubError('USAGE', `${String(metric)} is no metric of a sweep.`, {
      hint: `One of: ${METRICS.join(', ')}`,
    });
  }
  const hint = 'imagehub sweep show lists the cells with what they reached.';
  if (cell === undefined) {
    const best = bestCell(cells, metric);
    if (best) return best;
    throw new HubError('USAGE', `No cell of sweep ${sweep} is finished with a network that can be used.`, {
      hint,
    });
  }
  const found = cells.find((each) => each.cell === cell);
  if (!found) throw new HubError('NOT_FOUND', `Sweep ${sweep} has no cell ${cell}.`, { hint });
  if (found.state === 'done') return found;
  throw new HubError('USAGE', `Cell ${cell} of sweep ${sweep} is ${found.state}; it has no network.`, {
    hint,
  });
}

type Measured = Pick<
  Cell,
  'accuracy' | 'logLoss' | 'trainAccuracy' | 'trainImages' | 'testImages' | 'seconds'
>;
type NetworkMetrics = ReturnType<typeof metricsOf>;

const metricsOf = (cell: Measured) => ({
  validationAccuracy: cell.accuracy,
  validationLoss: cell.logLoss,
  trainingAccuracy: cell.trainAccuracy,
  trainingImages: cell.trainImages,
  validationImages: cell.testImages,
  seconds: cell.seconds,
});

async function rebuild(
  { pool, stores, config, log }: JobContext,
  name: string,
  cell: Cell,
  spec: SweepSpec,
  { signal = new AbortController().signal }: PromoteCellRequest,
): Promise<{ onnx: Uint8Array; metrics: NetworkMetrics }> {
  const dataset = await getDataset(pool, name);
  const settings = cell.settings as unknown as CellSettings;
  const backbone = await backboneOf(pool, spec);
  checkSameBackbone(settings, backbone);
  const { maxPixels } = config;
  const data = await new SweepData({ pool, stores }, dataset, spec, { maxPixels, backbone }).window(
    cell,
    settings.options.seed,
  );
  if (data.sha256 !== cell.dataSha256 || settings.classes !== dataset.classes.length) {
    throw new HubError(
      'CONFLICT',
      `The images or classes that cell ${cell.cell} was trained on have changed, and its network was not kept.`,
      {
        hint: `Run the sweep again (what has not changed is not computed again), or keep more networks: --keep`,
      },
    );
  }
  await using threads = new CellThreads(1, log);
  const outcome = await threads.train(
    {
      ...networkTask(dataset, settings, data, backbone),
      options: settings.options,
      // As it was trained: how a sum is cut into threads shows in its last bits.
      threads: threadsPerCell(config),
      device: 'cpu',
      from: null,
      checkpointSeconds: config.checkpointSeconds,
    },
    { signal, onCheckpoint: () => Promise.resolve() },
  );
  if (outcome.outcome === 'done') {
    const { onnx, metrics } = outcome;
    // Elsewhere, or with other threads, it is not the same to the last bit.
    const measured = { ...metrics, accuracy: metrics.test.accuracy, logLoss: metrics.test.logLoss };
    return { onnx, metrics: metricsOf(measured) };
  }
  if (outcome.outcome === 'refused') throw new HubError(outcome.code, outcome.message);
  throw new HubError(
    outcome.outcome === 'interrupted' ? 'INTERRUPTED' : 'BAD_MODEL',
    `Cell ${cell.cell} was ${outcome.outcome} when it was trained again.`,
  );
}
