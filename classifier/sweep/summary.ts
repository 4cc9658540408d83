import type { Cell, CellState } from '../../sql/sweeps.ts';
import type { CellSettings } from './plan.ts';
import { canonical } from './spec.ts';

/** What cells can be compared by. */
export const METRICS = ['accuracy', 'precision', 'recall', 'f1', 'logLoss'] as const;
export type Metric = (typeof METRICS)[number];

/** Mean, sample standard deviation (n − 1; null of one value), least and greatest of `n` values. */
export interface Spread {
  n: number;
  mean: number;
  deviation: number | null;
  least: number;
  greatest: number;
}

/** The cells of one setting on one window, which differ by their seed. */
export interface SettingSummary {
  /** Those settings that differ within the sweep, the seed left out. */
  settings: Record<string, unknown>;
  window: string | null;
  states: Record<CellState, number>;
  /** Over the finished cells that did not diverge; null: there are none. */
  accuracy: Spread | null;
  precision: Spread | null;
  recall: Spread | null;
  f1: Spread | null;
  logLoss: Spread | null;
  seconds: Spread | null;
  /** The cell with the best accuracy. */
  best: number | null;
}

/** How one setting does over windows of data: of its mean accuracies, one per window. */
export interface Stability {
  settings: Record<string, unknown>;
  windows: number;
  accuracy: Spread;
  worstWindow: string | null;
}

export interface SweepTable {
  rows: SettingSummary[];
  /** With more than one window. */
  stability: Stability[];
  best: Cell | null;
  /** Windows whose cells saw different images, as those changed while the sweep went on. */
  changedWindows: (string | null)[];
}

/** @returns null of no values */
export function spread(values: number[]): Spread | null {
  const n = values.length;
  if (n === 0) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    n,
    mean,
    deviation: n > 1 ? Math.sqrt(squares / (n - 1)) : null,
    least: Math.min(...values),
    greatest: Math.max(...values),
  };
}

/** The finished cell that is best by a metric; the first of equals. */
export function bestCell(cells: Cell[], metric: Metric = 'accuracy'): Cell | null {
  const sign = metric === 'logLoss' ? -1 : 1;
  const value = (cell: Cell): number => sign * (cell[metric] ?? -sign * Infinity);
  const done = cells.filter((cell) => cell.state === 'done' && cell[metric] !== null);
  return done.reduce<Cell | null>((best, cell) => (!best || value(cell) > value(best) ? cell : best), null);
}

/** The cells of a sweep by setting and window, with mean and deviation over seeds. */
export function summarise(cells: Cell[]): SweepTable {
  const varying = varyingSettings(cells);
  const groups = Map.groupBy(cells, (cell) => canonical([shown(cell, varying), cell.label]));
  const rows = [...groups.values()].map((group): SettingSummary => {
    const done = group.filter(({ state }) => state === 'done');
    const over = (metric: Metric | 'seconds') =>
      spread(done.map((cell) => cell[metric]).filter((value) => value !== null));
    return {
      settings: shown(group[0]!, varying),
      window: group[0]!.label,
      states: countStates(group),
      accuracy: over('accuracy'),
      precision: over('precision'),
      recall: over('recall'),
      f1: over('f1'),
      logLoss: over('logLoss'),
      seconds: over('seconds'),
      best: bestCell(group)?.cell ?? null,
    };
  });
  const byWindow = Map.groupBy(cells, ({ label }) => label);
  const changedWindows = [...byWindow]
    .filter(([, group]) => sawDifferentImages(group))
    .map(([label]) => label);
  return {
    rows,
    stability: byWindow.size > 1 ? stabilityOf(rows) : [],
    best: bestCell(cells),
    changedWindows,
  };
}

/** Whether cells of one window did. With a limit or a sample the seed draws the images, so that only the same seed sees the same. */
function sawDifferentImages(cells: Cell[]): boolean {
  const seen = cells.filter(({ dataSha256 }) => dataSha256 !== null);
  const alike = Map.groupBy(seen, (cell) => {
    const { limit, sample, options } = cell.settings as unknown as CellSettings;
    return limit === null && !sample ? null : options.seed;
  });
  return [...alike.values()].some((group) => new Set(group.map(({ dataSha256 }) => dataSha256)).size > 1);
}

function stabilityOf(rows: SettingSummary[]): Stability[] {
  return [...Map.groupBy(rows, ({ settings }) => canonical(settings)).values()].flatMap((group) => {
    const measured = group.filter(({ accuracy }) => accuracy !== null);
    const accuracy = spread(measured.map((row) => row.accuracy!.mean));
    if (!accuracy) return [];
    const worst = measured.find((row) => row.accuracy!.mean === accuracy.least)!;
    return [{ settings: group[0]!.settings, windows: measured.length, accuracy, worstWindow: worst.window }];
  });
}

function countStates(cells: Cell[]): Record<CellState, number> {
  const states = { waiting: 0, running: 0, done: 0, diverged: 0, failed: 0 };
  for (const { state } of cells) states[state] += 1;
  return states;
}

const optionsOf = (cell: Cell): Record<string, unknown> => ({
  ...(cell.settings as unknown as CellSettings).options,
});

function varyingSettings(cells: Cell[]): string[] {
  const names = cells[0] ? Object.keys(optionsOf(cells[0])) : [];
  return names.filter(
    (name) => name !== 'seed' && new Set(cells.map((cell) => canonical(optionsOf(cell)[name]))).size > 1,
  );
}

const shown = (cell: Cell, names: string[]): Record<string, unknown> =>
  Object.fromEntries(names.map((name) => [name, optionsOf(cell)[name]]));
