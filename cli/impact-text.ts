import Table from 'cli-table3';
import type { ImpactReport } from '../classifier/impact/impact.ts';
import type { Accuracies } from '../classifier/impact/tally.ts';
import type { StoredImpact } from '../sql/impacts.ts';

const SHOWN_PAIRS = 10;
const SHOWN_BUCKETS = 24;

const STYLE = { head: [], border: [], compact: true };
const figures = new Intl.NumberFormat('en');
const percent = (share: number | null): string => (share === null ? '–' : `${(100 * share).toFixed(2)} %`);
const signed = (value: number | null, digits: number): string =>
  value === null ? '–' : `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;

/** The report for people. */
export function impactText(report: ImpactReport): string {
  const { impact, dataset, candidate, live, counts, sources } = report;
  const against = live === null ? 'the predictions in the table' : `live model ${live}`;
  const from = (side: 'live' | 'candidate') =>
    `${figures.format(sources[side].stored)} predictions were stored, ${figures.format(sources[side].computed)} computed now`;
  const lines = [
    `Impact ${impact}: model ${candidate} of ${dataset} instead of ${against}, on ${figures.format(report.images)} images${report.selection && ` (${report.selection})`}`,
    `  candidate: ${from('candidate')}; before: ${from('live')}`,
  ];
  const groups = new Table({ style: STYLE, colAligns: ['left', 'right', 'left'] });
  groups.push(
    ['fixed', figures.format(counts.fixed), examples(report.examples.fixed)],
    ['broken', figures.format(counts.broken), examples(report.examples.broken)],
    ['still wrong', figures.format(counts.still_wrong), examples(report.examples.still_wrong)],
    ['changed, label unknown', figures.format(counts.changed), examples(report.examples.changed)],
    ['unchanged', figures.format(counts.unchanged), ''],
  );
  if (counts.failed > 0)
    groups.push(['failed', figures.format(counts.failed), examples(report.examples.failed)]);
  lines.push(groups.toString(), accuracyLine('accuracy', report.accuracy));
  if (report.inTraining.images > 0) {
    lines.push(
      accuracyLine('not trained on', report.accuracyOutsideTraining),
      `The candidate was trained on ${figures.format(report.inTraining.images)} of the images: there it knows the answers (fixed ${report.inTraining.counts.fixed}, broken ${report.inTraining.counts.broken}).`,
    );
  } else if (!report.trainingKnown) {
    lines.push('What the candidate was trained on is not known here.');
  }
  const { shift } = report.confidence;
  const median = shift.quantiles.find(({ share }) => share === 0.5)?.value ?? null;
  lines.push(
    `confidence: ${report.confidence.live.mean?.toFixed(4) ?? '–'} → ${report.confidence.candidate.mean?.toFixed(4) ?? '–'} on average, shift ${signed(shift.mean, 4)} (median ${signed(median, 4)})`,
  );
  if (report.unclassified > 0)
    lines.push(`${figures.format(report.unclassified)} images had no prediction to compare with.`);
  if (report.left > 0)
    lines.push(`${figures.format(report.left)} images were changed amid the comparison and are left out.`);
  if (report.pairs.length > 0) lines.push('', pairsTable(report));
  if (report.buckets.length > 1) lines.push('', bucketsTable(report));
  return lines.join('\n');
}

const examples = (ids: string[]): string => (ids.length > 0 ? `e.g. ${ids.slice(0, 3).join(', ')}` : '');

const accuracyLine = (name: string, { images, live, candidate, difference }: Accuracies): string =>
  images === 0
    ? `${name}: no image has a known label`
    : `${name}: ${percent(live)} → ${percent(candidate)} (${signed(difference === null ? null : 100 * difference, 2)} points, ${figures.format(images)} labelled images)`;

function pairsTable({ pairs }: ImpactReport): string {
  const table = new Table({
    head: ['', 'known', 'before', 'now', 'images', ''],
    style: STYLE,
    colAligns: ['left', 'left', 'left', 'left', 'right'],
  });
  for (const { outcome, known, live, candidate, images, examples: ids } of pairs.slice(0, SHOWN_PAIRS)) {
    table.push([
      outcome.replace('_', ' '),
      known ?? '?',
      live ?? 'failed',
      candidate ?? 'failed',
      figures.format(images),
      examples(ids),
    ]);
  }
  return more(table.toString(), pairs.length, SHOWN_PAIRS, 'pairs');
}

function bucketsTable({ buckets, time }: ImpactReport): string {
  const table = new Table({
    head: [
      `${time.column === 'captured_at' ? 'captured' : 'ingested'}, by the ${time.bucket} (UTC)`,
      'images',
      'fixed',
      'broken',
      'changed',
      'before',
      'now',
    ],
    style: STYLE,
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'],
  });
  for (const { from, images, fixed, broken, changed, accuracy } of buckets.slice(-SHOWN_BUCKETS)) {
    table.push([
      from ?? 'not known',
      ...[images, fixed, broken, changed].map((count) => figures.format(count)),
      percent(accuracy.live),
      percent(accuracy.candidate),
    ]);
  }
  return more(table.toString(), buckets.length, SHOWN_BUCKETS, 'earlier ones');
}

const more = (text: string, all: number, shown: number, what: string): string =>
  all > shown ? `${text}\n… and ${all - shown} ${what} more (--json has them)` : text;

export function impactsText({ dataset, impacts }: { dataset: string; impacts: StoredImpact[] }): string {
  if (impacts.length === 0)
    return `${dataset} has no impacts yet. Make one with: imagehub impact ${dataset} --candidate MODEL`;
  const table = new Table({
    head: ['impact', 'candidate', 'against', 'images of', 'by', 'finished'],
    style: STYLE,
    colAligns: ['right', 'right', 'right'],
  });
  for (const { impact, candidate, live, selection, startedBy, finishedAt } of impacts) {
    table.push([
      impact,
      candidate,
      live ?? 'stored',
      selection || 'all',
      startedBy,
      finishedAt.toISOString(),
    ]);
  }
  return table.toString();
}
