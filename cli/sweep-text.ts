import Table from 'cli-table3';
import type { SweepSpec } from '../classifier/sweep/spec.ts';
import { bestCell, type SettingSummary, type Spread, type SweepTable } from '../classifier/sweep/summary.ts';
import type { Cell, Sweep, SweepSummary } from '../sql/sweeps.ts';
import { duration } from './progress.ts';

type ShownCell = Omit<Cell, 'settingsHash' | 'manifest'>;
type Shown = Sweep & SweepTable & { cells: ShownCell[] };

export function sweepsText({ dataset, sweeps }: { dataset: string; sweeps: SweepSummary[] }): string {
  if (sweeps.length === 0) return `${dataset} has no sweeps yet: imagehub sweep ${dataset} --help`;
  return table(
    ['sweep', 'cells', 'finished', 'diverged', 'failed', 'best accuracy', 'training', 'begun'],
    sweeps.map(({ sweep, cells, states, bestAccuracy, seconds, createdAt }) => [
      String(sweep),
      String(cells),
      String(states.done + states.diverged),
      String(states.diverged),
      String(states.failed),
      figure(bestAccuracy),
      duration(seconds),
      createdAt.toISOString().slice(0, 16).replace('T', ' '),
    ]),
    0,
  );
}

/** One line per setting and window: mean and deviation over seeds. */
export function sweepText(shown: Shown): string {
  const { rows, stability, cells, changedWindows } = shown;
  const names = Object.keys(rows[0]?.settings ?? {});
  const windowed = rows.some(({ window }) => window !== null);
  const labels = [...names, ...(windowed ? ['window'] : [])];
  const parts = [
    head(shown),
    table(
      [...labels, 'runs', 'accuracy', 'best', 'precision', 'recall', 'F1', 'seconds', 'cell'],
      rows.map((row) => [
        ...names.map((name) => valueText(row.settings[name])),
        ...(windowed ? [row.window ?? 'all'] : []),
        runsText(row),
        spreadText(row.accuracy),
        figure(row.accuracy?.greatest),
        figure(row.precision?.mean),
        figure(row.recall?.mean),
        figure(row.f1?.mean),
        row.seconds ? row.seconds.mean.toFixed(1) : '–',
        row.best === null ? '–' : String(row.best),
      ]),
      labels.length,
    ),
  ];
  if (stability.length > 0) {
    parts.push(
      `Over windows (of their mean accuracies)\n${table(
        [...names, 'windows', 'accuracy', 'worst', 'best', 'worst in'],
        stability.map(({ settings, windows, accuracy, worstWindow }) => [
          ...names.map((name) => valueText(settings[name])),
          String(windows),
          spreadText(accuracy),
          figure(accuracy.least),
          figure(accuracy.greatest),
          worstWindow ?? 'all',
        ]),
        names.length,
      )}`,
    );
  }
  for (const window of changedWindows) {
    parts.push(
      `The images ${window === null ? '' : `of ${window} `}changed while the sweep went on, so its cells do not all compare. Start it again: what saw the present ones is not computed again.`,
    );
  }
  const failed = cells.find(({ state }) => state === 'failed');
  if (failed) parts.push(`Cell ${failed.cell} could not be trained: ${failed.error}`);
  const best = bestCell(cells as Cell[]);
  if (best) {
    parts.push(
      `Best: cell ${best.cell}, accuracy ${figure(best.accuracy)}. Make it live: imagehub sweep promote ${shown.dataset} ${shown.sweep}`,
    );
  }
  return parts.join('\n\n');
}

/** One line per training. */
export function cellsText(shown: Shown): string {
  const { rows, cells } = shown;
  const names = [...Object.keys(rows[0]?.settings ?? {}), 'seed'];
  const windowed = cells.some(({ label }) => label !== null);
  return `${head(shown)}\n\n${table(
    [
      'cell',
      ...names,
      ...(windowed ? ['window'] : []),
      'state',
      'accuracy',
      'precision',
      'recall',
      'F1',
      'log loss',
      'seconds',
      'run',
      'model',
    ],
    cells.map((cell) => [
      String(cell.cell),
      ...names.map((name) => valueText((cell.settings.options as Record<string, unknown>)[name])),
      ...(windowed ? [cell.label ?? 'all'] : []),
      cell.state,
      figure(cell.accuracy),
      figure(cell.precision),
      figure(cell.recall),
      figure(cell.f1),
      figure(cell.logLoss),
      cell.seconds === null ? '–' : cell.seconds.toFixed(1),
      cell.run === null ? '–' : String(cell.run),
      cell.model === null ? '–' : String(cell.model),
    ]),
    names.length + 1,
  )}`;
}

function head({ sweep, dataset, spec, cells }: Shown): string {
  const finished = cells.filter(({ state }) => state === 'done' || state === 'diverged').length;
  const seconds = cells.reduce((sum, cell) => sum + (cell.seconds ?? 0), 0);
  const { backbone, sample } = spec as Pick<SweepSpec, 'backbone' | 'sample'>;
  const of = [
    ...(backbone === undefined ? [] : [`features by ${backbone}`]),
    ...(sample ? [`a sample of ${sample.share}${sample.byClass ? ' of each class' : ''}`] : []),
  ].join(', ');
  return `Sweep ${sweep} of ${dataset}${of && ` (${of})`}: ${finished} of ${cells.length} trainings finished, ${duration(seconds)} of training.`;
}

/** `5`, or `5, 2 diverged`. */
function runsText({ states }: SettingSummary): string {
  const { done, ...others } = states;
  const more = Object.entries(others).filter(([, n]) => n > 0);
  return [String(done), ...more.map(([state, n]) => `${n} ${state}`)].join(', ');
}

const figure = (value: number | null | undefined): string =>
  value === null || value === undefined ? '–' : value.toFixed(4);

const spreadText = (value: Spread | null): string =>
  value === null
    ? '–'
    : value.deviation === null
      ? figure(value.mean)
      : `${figure(value.mean)} ± ${figure(value.deviation)}`;

/** Layers as they are written on the command line. */
const valueText = (value: unknown): string =>
  Array.isArray(value)
    ? value.join('x') || 'none'
    : typeof value === 'string'
      ? value
      : JSON.stringify(value);

function table(heads: string[], rows: string[][], labelColumns: number): string {
  const lines = new Table({
    head: heads,
    colAligns: heads.map((_, column) => (column < labelColumns ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });
  lines.push(...rows);
  return lines.toString();
}
