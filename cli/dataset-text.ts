import Table from 'cli-table3';
import type { TopicOffsets } from '../ingest/kafka.ts';
import type { DatasetCounts } from '../sql/dataset-counts.ts';
import type { Dataset, Oversized } from '../sql/datasets.ts';
import { STORE_SUPPORT } from '../sql/image-store.ts';

export interface ShownDataset extends Dataset, DatasetCounts {
  /** Null: no Kafka, or no such topic. */
  partitions: TopicOffsets[] | null;
  /** Images of which a smaller rendition is stored; left out where the store takes images of any size. */
  reduced?: number;
}

/** Of a dataset whose store does not answer. */
export const UNCOUNTED = { rows: null, labelled: null, unclassified: null };
type Uncounted<T> = { [K in keyof T]: K extends keyof typeof UNCOUNTED ? T[K] | null : T[K] };

export function datasetTable(datasets: (Dataset & Uncounted<DatasetCounts>)[]): string {
  if (datasets.length === 0) return 'No datasets yet. Make one: imagehub dataset create mnist --classes 0..9';
  const table = new Table({
    head: ['dataset', 'topic', 'classes', 'images', 'labelled', 'live model'],
    style: { head: [], border: [] },
  });
  for (const { name, topic, classes, rows, labelled, liveModelId } of datasets) {
    table.push([name, topic, classes.length, rows ?? 'not known', labelled ?? '', liveModelId ?? '']);
  }
  return table.toString();
}

/** Long class lists are cut in the text for people; --json has them all. */
const CLASSES_SHOWN = 30;

const FATES: Record<Oversized, string> = {
  'dead-letter': 'a dead letter',
  reduce: 'stored as the largest rendition that fits',
};

export function showText(dataset: ShownDataset): string {
  const { classes, partitions, labelFrom, labelPattern } = dataset;
  const more = classes.length > CLASSES_SHOWN ? `, … (${classes.length} in all)` : '';
  const reduced = dataset.reduced ? `, ${dataset.reduced} stored smaller` : '';
  const table = new Table({ style: { head: [], border: [] } });
  const messages = partitions
    ?.map(({ partition, low, high }) => `${partition}: ${low} to ${high}`)
    .join('\n');
  table.push(
    { dataset: dataset.name },
    { store: dataset.store },
    { classes: classes.slice(0, CLASSES_SHOWN).join(', ') + more },
    { 'labels from': labelPattern === null ? labelFrom : `regex:${labelPattern}` },
    {
      images: `${dataset.rows} (${dataset.labelled} labelled, ${dataset.unclassified} not classified${reduced})`,
    },
    { 'dead letters': dataset.deadLetters },
    {
      'live model':
        dataset.liveModelId === null ? 'none' : `${dataset.liveModelId} (promotion ${dataset.promotionNo})`,
    },
    { 'grey rendition': `longest side ${dataset.pgmMaxSide} pixels, background ${dataset.background}` },
    { columns: dataset.columns },
    ...(STORE_SUPPORT[dataset.store].anySize
      ? []
      : [{ 'too large for the store': FATES[dataset.oversized] }]),
    { location: dataset.stripLocation ? 'taken out of new images' : 'kept' },
    { 'features at ingest': dataset.featuresBackbone ?? 'none' },
    { topic: dataset.topic },
    { 'offsets by partition': messages ?? 'no topic' },
  );
  return table.toString();
}
