import type { Pool } from 'pg';
import type { KuduSource } from './kudu/source.ts';
import { fillFromFeed, putAgain } from './postgres-fill.ts';
import { postgresRows } from './postgres-rows.ts';
import type { IndexedRows, IndexSource, IndexSources } from './source.ts';

/**
 * Where documents come from; Kudu is loaded and connected when a dataset is there. Close it with `using`.
 * @param masters of Kudu; null: none are known
 */
export function openIndexSources(pool: Pool, masters: string[] | null): IndexSources & Disposable {
  let loaded: Promise<KuduSource> | null = null;
  const load = async () => {
    const { KuduSource } = await import('./kudu/source.ts');
    return new KuduSource(pool, masters);
  };
  const source = () => (loaded ??= load());
  return {
    postgres: { rows: (dataset) => postgresRows(pool, dataset), fill: fillFromFeed, putAgain },
    kudu: {
      rows: (dataset) => lazyRows(source, dataset),
      fill: async (job) => (await source()).fill(job),
      putAgain: async (job) => (await source()).putAgain(job),
    },
    [Symbol.dispose]: () => void loaded?.then((opened) => opened[Symbol.dispose]()),
  };
}

const lazyRows = (source: () => Promise<IndexSource>, dataset: string): IndexedRows => ({
  figures: async () => (await source()).rows(dataset).figures(),
  async *ids(page) {
    yield* (await source()).rows(dataset).ids(page);
  },
  revisions: async (ids) => (await source()).rows(dataset).revisions(ids),
});
