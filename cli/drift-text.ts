import Table from 'cli-table3';
import { type Measure, PSI_MAJOR, PSI_MODERATE, statisticsOf } from '../classifier/drift/measures.ts';
import type { AccuracyReport, DriftReport, SubjectReport } from '../classifier/drift/report.ts';
import type { Share } from '../classifier/drift/statistics.ts';

const count = (value: number) => value.toLocaleString('en-US');
const figure = (value: number | undefined) => (value === undefined ? '–' : value.toFixed(3));
const percent = (value: number) => `${(100 * value).toFixed(2)} %`;
const time = (value: Date | null) =>
  value
    ?.toISOString()
    .replace('T', ' ')
    .replace(/(:00)?\.000Z$/, '') ?? '…';

function table(head: string[], rows: string[][], labels = 1): string {
  const lines = new Table({
    head,
    colAligns: head.map((_, column) => (column < labels ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });
  lines.push(...rows);
  return lines.toString();
}

/** One window in full, several as a line each. */
export function driftText(reports: DriftReport[]): string {
  return reports.length === 1 ? windowText(reports[0]!) : windowsText(reports);
}

function windowText(report: DriftReport): string {
  const { dataset, window, reference, comparedWith } = report;
  const parts = [
    `${dataset}, ${time(window.since)} to ${time(window.until)} (UTC): ${count(window.images)} images, compared with ${comparedWith} (${count(reference.images)}).`,
  ];
  if (report.subjects.length > 0) parts.push(subjectTable(report));
  parts.push(accuracyText(report.accuracy));
  const predictions = report.subjects.find(({ subject }) => subject === 'prediction');
  if (predictions) parts.push(classTable(predictions));
  if (report.missing.length > 0) {
    parts.push(
      ['Not to be had:', ...report.missing.map(({ subject, reason }) => `  ${subject}: ${reason}`)].join(
        '\n',
      ),
    );
  }
  if (report.notes.length > 0) parts.push(report.notes.join('\n'));
  return parts.join('\n\n');
}

type Figures = (measure: Measure) => { value: number; noise: number } | undefined;

const figuresOf =
  ({ measures }: DriftReport): Figures =>
  (measure) =>
    measures.find((each) => each.measure === measure);

function subjectTable(report: DriftReport): string {
  const figures = figuresOf(report);
  const rows = report.subjects.map(({ subject, mean }) => {
    const psi = figures(`${subject}_psi`);
    const others = (['js', 'ks', 'shift'] as const).map((statistic) =>
      statisticsOf(subject).includes(statistic) ? figure(figures(`${subject}_${statistic}`)?.value) : '',
    );
    const means = mean ? `${mean.reference.toPrecision(4)} → ${mean.window.toPrecision(4)}` : '';
    return [subject, psi ? levelOf(psi) : '–', figure(psi?.value), ...others, means];
  });
  return table(['', 'drift', 'PSI', 'JS', 'KS', 'shift (σ)', 'mean'], rows, 2);
}

/** By the convention for PSI; what chance alone explains is none. */
function levelOf({ value, noise }: { value: number; noise: number }): string {
  if (value < PSI_MODERATE || value <= noise) return 'none';
  return value < PSI_MAJOR ? 'moderate' : 'major';
}

const shareText = ({ value, low, high, images }: Share) =>
  `${percent(value)} (${percent(low)} to ${percent(high)}; ${count(images)} images)`;

function accuracyText({ reference, window, estimate }: AccuracyReport): string {
  return [
    `Accuracy, with the interval that holds it 95 times in 100`,
    `  reference, by labels       ${reference ? shareText(reference) : '–'}`,
    `  window, by labels          ${window ? shareText(window) : '–'}`,
    `  window, by confidence      ${estimate ? shareText(estimate) : '–'}`,
  ].join('\n');
}

/** More classes than that are left to --json. */
const LISTED_CLASSES = 30;

function classTable({ bins }: SubjectReport): string {
  const [n, m] = (['reference', 'window'] as const).map((side) =>
    bins.reduce((sum, bin) => sum + bin[side], 0),
  ) as [number, number];
  const listed = [...bins]
    .map((bin) => ({ ...bin, change: bin.window / m - bin.reference / n }))
    .sort((a, b) => (bins.length > LISTED_CLASSES ? Math.abs(b.change) - Math.abs(a.change) : 0))
    .slice(0, LISTED_CLASSES);
  return table(
    ['predicted', 'reference', 'window', 'change'],
    listed.map((bin) => [
      bin.class!,
      percent(bin.reference / n),
      percent(bin.window / m),
      `${bin.change > 0 ? '+' : ''}${percent(bin.change)}`,
    ]),
  );
}

function windowsText(reports: DriftReport[]): string {
  const { dataset, comparedWith, reference } = reports[0]!;
  const rows = reports.map((report) => {
    const figures = figuresOf(report);
    const pixels = report.subjects
      .filter(({ subject }) => subject !== 'prediction' && subject !== 'confidence')
      .map(({ subject }) => figures(`${subject}_psi`)!.value);
    const { window, estimate } = report.accuracy;
    return [
      time(report.window.since),
      time(report.window.until),
      count(report.window.images),
      figure(figures('prediction_psi')?.value),
      figure(figures('confidence_psi')?.value),
      figure(pixels.length > 0 ? Math.max(...pixels) : undefined),
      window ? percent(window.value) : '–',
      estimate ? percent(estimate.value) : '–',
    ];
  });
  const head = [
    'since (UTC)',
    'until',
    'images',
    'prediction PSI',
    'confidence PSI',
    'largest pixel PSI',
    'accuracy',
    'estimated',
  ];
  const notes = [...new Set(reports.flatMap(({ notes }) => notes))];
  return [
    `${dataset}, compared with ${comparedWith} (${count(reference.images)} images)`,
    table(head, rows, 2),
    ...(notes.length > 0 ? [notes.join('\n')] : []),
  ].join('\n\n');
}
