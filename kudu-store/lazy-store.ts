import type { ImageStore } from '../sql/image-store.ts';
import type { KuduStore, KuduStoreOptions } from './kudu-store.ts';

/** A `KuduStore` that is loaded with its first batch: few have datasets in Kudu, and its client takes a quarter of a second. */
export function lazyKuduStore(options: KuduStoreOptions): ImageStore & Disposable {
  let loaded: Promise<KuduStore> | null = null;
  const load = async () => {
    const { KuduStore } = await import('./kudu-store.ts');
    return new KuduStore(options);
  };
  const loading = () => (loaded ??= load());
  return {
    name: 'kudu',
    images: {
      rows: async function* (...request) {
        yield* (await loading()).images.rows(...request);
      },
    },
    writer: async (client, batch) => (await loading()).writer(client, batch),
    verdicts: {
      withBacklog: async (...asked) => (await loading()).verdicts.withBacklog(...asked),
      countBacklog: async (...asked) => (await loading()).verdicts.countBacklog(...asked),
      write: async (...verdicts) => (await loading()).verdicts.write(...verdicts),
      changedSince: async function* (...asked) {
        yield* (await loading()).verdicts.changedSince(...asked);
      },
    },
    [Symbol.dispose]: () => void loaded?.then((store) => store[Symbol.dispose]()),
  };
}
