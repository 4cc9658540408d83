import type { OutliersReport } from '../classifier/neighbours/outliers.ts';
import { computeHint } from '../classifier/features/backbone.ts';
import type { SimilarReport } from '../classifier/neighbours/similar.ts';
import { count, fraction, table } from './report.ts';

const HEAD = ['image', 'known label', 'prediction'];

const cells = (image: { id: string; knownClass: string | null; predictedClass: string | null }) => [
  image.id,
  image.knownClass ?? '',
  image.predictedClass ?? '',
];

/** What is not in the answer, and what to do about it. */
function missingLines({
  dataset,
  backbone,
  missing,
  failed,
}: Pick<SimilarReport, 'dataset' | 'backbone' | 'missing' | 'failed'>): string[] {
  return [
    ...(missing > 0
      ? [
          `${count(missing)} more have no features and are left out; compute them: ${computeHint(dataset, { name: backbone })}`,
        ]
      : []),
    ...(failed > 0 ? [`The backbone failed on ${count(failed)} more.`] : []),
  ];
}

export function similarText(report: SimilarReport): string {
  const { dataset, backbone, to, compared, similar } = report;
  const lines = [
    `${to} beside ${count(compared)} images of ${dataset}, by features of ${backbone}:`,
    ...missingLines(report),
  ];
  if (similar.length === 0) return lines.join('\n');
  const rows = similar.map((image) => [...cells(image), fraction(image.similarity)]);
  return [...lines, '', table([...HEAD, 'similarity'], rows, 3)].join('\n');
}

export function outliersText(report: OutliersReport & { found: number }): string {
  const { dataset, backbone, withinClass, neighbours, unlabelled, alone, found, outliers } = report;
  const lines = [
    `${count(found)} images of ${dataset} by their mean distance to their ${neighbours} nearest neighbours` +
      `${withinClass ? ' of the same label' : ''}, by features of ${backbone}; the farthest first.`,
    ...missingLines(report),
    ...(unlabelled > 0 ? [`${count(unlabelled)} more have no known label and are left out.`] : []),
    ...(alone.length > 0 ? [`Without a neighbour: the only image of ${alone.join(', ')}.`] : []),
  ];
  if (outliers.length === 0) return lines.join('\n');
  const rows = outliers.map((image) => [...cells(image), fraction(image.distance)]);
  const more = found - outliers.length;
  return [
    ...lines,
    '',
    table([...HEAD, 'distance'], rows, 3),
    ...(more > 0 ? [`… and ${count(more)} more: --limit shows them`] : []),
  ].join('\n');
}
