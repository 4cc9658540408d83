import Table from 'cli-table3';
import { note } from '../cli/output.ts';

export interface PeerResult {
  name: string;
  value: number;
  /** Above 1: ours is better. */
  ratio: number;
}

/** What a benchmark found; what follows `peers` differs from one to the other. */
export interface BenchResult {
  bench: string;
  ours: number;
  unit: string;
  peers: PeerResult[];
  [more: string]: unknown;
}

export interface Measured {
  name: string;
  value: number;
}

/**
 * Compares ours with each peer.
 * @param better `more`: a rate; `less`: a time
 * @param rest what else was measured, e.g. percentiles; it ends up beside `peers`
 */
export function compare(
  bench: string,
  unit: string,
  better: 'more' | 'less',
  ours: number,
  peers: Measured[],
  rest: Record<string, unknown> = {},
): BenchResult {
  const ratio = (value: number) => round3(better === 'more' ? ours / value : value / ours);
  return {
    bench,
    ours,
    unit,
    peers: peers.map(({ name, value }) => ({ name, value, ratio: ratio(value) })),
    ...rest,
  };
}

const round3 = (value: number): number => Math.round(value * 1000) / 1000;

/** A table for people on standard error; with `json` one line on standard output, the last of the run. */
export function printResult(result: BenchResult, { json }: { json?: boolean }): void {
  const { bench, ours, unit, peers } = result;
  printTable(
    [bench, unit, 'ours is better by'],
    [
      ['imagehub', amount(ours), ''],
      ...peers.map(({ name, value, ratio }) => [name, amount(value), `${ratio.toFixed(2)} ×`]),
    ],
  );
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** Rows of text under a head, on standard error; all columns but the first are numbers. */
export function printTable(head: string[], rows: string[][]): void {
  const colAligns = head.map((_, index) => (index === 0 ? 'left' : 'right'));
  const table = new Table({ head, colAligns, style: { head: [], border: [] } });
  table.push(...rows);
  note(table.toString());
}

/** Large figures without decimals, small ones with three digits. */
export const amount = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));

/** The middle one (of two, the lower). */
export const median = (values: readonly number[]): number => percentile(values, 50);

/** Nearest rank: the smallest value that at least `percent` % of them do not exceed. @throws RangeError on none */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('There is nothing to take a percentile of.');
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}
