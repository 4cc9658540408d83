import type { ImageStore } from '../sql/image-store.ts';
import { queryBy, type StoredImages } from '../sql/stored-images.ts';
import type { KuduStore, KuduStoreOptions } from './kudu-store.ts';
import { listUnfinished } from './unfinished.ts';

/** A `KuduStore` that is loaded when it is first needed: few have datasets in Kudu, and its client takes a quarter of a second. */
export function lazyKuduStore(options: KuduStoreOptions): ImageStore & Disposable {
  let loaded: Promise<KuduStore> | null = null;
  let present: KuduStore | null = null;
  const load = async () => {
    const { KuduStore } = await import('./kudu-store.ts');
    return (present = new KuduStore(options));
  };
  const store = () => (loaded ??= load());
  const stream: StoredImages['stream'] = async function* (...request) {
    yield* (await store()).images.stream(...request);
  };
  return {
    name: 'kudu',
    rowHash: (dataset) => present?.rowHash(dataset) ?? null,
    writer: async (client, batch) => (await store()).writer(client, batch),
    holdImages: async (...asked) => (await store()).holdImages(...asked),
    images: {
      rows: async function* (...request) {
        yield* (await store()).images.rows(...request);
      },
      stream,
      query: queryBy(stream),
      reduced: async (...asked) => (await store()).images.reduced(...asked),
      tally: async (...asked) => (await store()).images.tally(...asked),
      hold: async (...request) => (await store()).images.hold(...request),
      imageBytes: async (...request) => (await store()).images.imageBytes(...request),
    },
    verdicts: {
      withBacklog: async (...asked) => (await store()).verdicts.withBacklog(...asked),
      countBacklog: async (...asked) => (await store()).verdicts.countBacklog(...asked),
      write: async (...verdicts) => (await store()).verdicts.write(...verdicts),
      changedSince: async function* (...asked) {
        yield* (await store()).verdicts.changedSince(...asked);
      },
    },
    labels: {
      relabel: async (...asked) => (await store()).labels.relabel(...asked),
      undo: async (...asked) => (await store()).labels.undo(...asked),
      read: async (...asked) => (await store()).labels.read(...asked),
    },
    deleteDuplicates: async (...asked) => (await store()).deleteDuplicates(...asked),
    async carryOut() {
      if (options.masters === null || (await listUnfinished(options.pool)).length === 0) return 0;
      return (await store()).carryOut();
    },
    warmUp: async () => (await store()).warmUp(),
    [Symbol.dispose]: () => void loaded?.then((store) => store[Symbol.dispose]()),
  };
}
