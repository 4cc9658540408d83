import type { Servers } from '../stack/servers.ts';

/** What `npm run demo -- --json` ends with. */
export interface DemoSummary {
  servers: Servers;
  dataset: string;
  /** Digits sent in all. */
  images: number;
  rows: number;
  deadLetters: number;
  /** The books agree: every message is a row or a dead letter, and every row a document. */
  consistent: boolean;
  model: number;
  /** On digits that the model had not seen, classified while they were ingested; 0 to 1. */
  accuracyUnseen: number;
  unseen: number;
  /** Documents in the search index; null without Elasticsearch. */
  documents: number | null;
  /** The classic query: count(prediction) by prediction. */
  predictions: { prediction: number; count: number }[];
  /** Seconds per phase. */
  seconds: Record<'servers' | 'prepare' | 'train' | 'apply' | 'total', number>;
}

export const CLASSIC_QUERY =
  'select count(prediction), prediction as all_prediction from mnist group by prediction order by prediction';

/** The summary for people, with the commands to look further. */
export function describeDemo(summary: DemoSummary, kept: { home: string } | null): string {
  const { servers, seconds, predictions } = summary;
  const figures = (n: number) => n.toLocaleString('en');
  const lines = [
    '',
    `Servers    Postgres${servers.kafka ? ', Kafka' : ' (embedded mode: no Kafka here, images went straight into the pipeline)'}${servers.elasticsearch ? ', Elasticsearch' : ''}`,
    `Images     ${figures(summary.images)} sent, ${figures(summary.rows)} rows, ${summary.deadLetters} dead letters${summary.consistent ? '; nothing lost, nothing doubled' : '; THE BOOKS DO NOT AGREE'}`,
    `Accuracy   ${(100 * summary.accuracyUnseen).toFixed(2)} % on ${figures(summary.unseen)} digits the model had not seen, classified on arrival`,
    `Index      ${summary.documents === null ? 'none (no Elasticsearch here)' : `${figures(summary.documents)} documents`}`,
    `Seconds    servers ${seconds.servers}, prepare ${seconds.prepare}, train ${seconds.train}, apply ${seconds.apply}; in all ${seconds.total}`,
    '',
    `${CLASSIC_QUERY};`,
    ...predictions.map(({ prediction, count }) => `  ${String(count).padStart(6)}  ${prediction}`),
    '',
  ];
  if (!kept)
    return [...lines, 'Everything is stopped again. Look around in it with: npm run demo -- --keep', ''].join(
      '\n',
    );
  const command = (text: string) =>
    `  ${kept.home === '.imagehub' ? '' : `IMAGEHUB_HOME=${kept.home} `}npx imagehub ${text}`;
  return [
    ...lines,
    'Everything keeps running. Look further:',
    `  psql ${servers.postgres}`,
    command('report mnist'),
    command('reconcile mnist'),
    ...(servers.elasticsearch
      ? [`  curl '${servers.elasticsearch}/imagehub-mnist/_search?q=correct:false&size=3&pretty'`]
      : []),
    command('down'),
    '',
  ].join('\n');
}
