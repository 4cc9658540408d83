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
  seconds: Record<Phase | 'total', number>;
}

type Phase = 'servers' | 'prepare' | 'train' | 'apply';

/** Measures the phases one after the other. */
export function startStopwatch() {
  const laps: DemoSummary['seconds'] = { servers: 0, prepare: 0, train: 0, apply: 0, total: 0 };
  const begin = performance.now();
  let last = begin;
  const tenths = (ms: number) => Math.round(ms / 100) / 10;
  return {
    lap(phase: Phase): void {
      const now = performance.now();
      laps[phase] = tenths(now - last);
      laps.total = tenths(now - begin);
      last = now;
    },
    seconds: () => laps,
  };
}

export const CLASSIC_QUERY =
  'select count(prediction), prediction as all_prediction from mnist group by prediction order by prediction';

/** What is there when the demo has ended: everything, the servers that were there before it, or nothing. */
export type Afterwards = 'all runs' | 'servers run' | 'stopped';

/** The summary for people, with the commands to look further. */
export function describeDemo(summary: DemoSummary, afterwards: Afterwards, home: string): string {
  const { servers, seconds, predictions } = summary;
  const figures = (n: number) => n.toLocaleString('en');
  const books = summary.consistent ? 'nothing lost, nothing doubled' : 'THE BOOKS DO NOT AGREE';
  const lines = [
    '',
    `Servers    Postgres${servers.kafka ? ', Kafka' : ' (embedded mode: no Kafka here, images went straight into the pipeline)'}${servers.elasticsearch ? ', Elasticsearch' : ''}`,
    `Images     ${figures(summary.images)} sent, ${figures(summary.rows)} rows, ${summary.deadLetters} dead letters; ${books}`,
    `Accuracy   ${(100 * summary.accuracyUnseen).toFixed(2)} % on ${figures(summary.unseen)} digits the model had not seen, classified on arrival`,
    `Index      ${summary.documents === null ? 'none (no Elasticsearch here)' : `${figures(summary.documents)} documents`}`,
    `Seconds    servers ${seconds.servers}, prepare ${seconds.prepare}, train ${seconds.train}, apply ${seconds.apply}; in all ${seconds.total}`,
    '',
    `${CLASSIC_QUERY};`,
    ...predictions.map(({ prediction, count }) => `  ${String(count).padStart(6)}  ${prediction}`),
    '',
  ];
  const command = (text: string) =>
    `  ${home === '.imagehub' ? '' : `IMAGEHUB_HOME=${home} `}npx imagehub ${text}`;
  const look = [
    `  psql ${servers.postgres}`,
    command('report mnist'),
    command('reconcile mnist'),
    ...(servers.elasticsearch
      ? [`  curl '${servers.elasticsearch}/imagehub-mnist/_search?q=correct:false&size=3&pretty'`]
      : []),
  ];
  const end = {
    'all runs': ['Everything keeps running. Look further:', ...look, command('down')],
    'servers run': ['The servers ran before and keep running. Look further:', ...look],
    stopped: [
      `Everything is stopped again; the data stay in ${home}. Look around in them:`,
      command('up --detach'),
      command('report mnist'),
      command('down'),
    ],
  };
  return [...lines, ...end[afterwards], ''].join('\n');
}
