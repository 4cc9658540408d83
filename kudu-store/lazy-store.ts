import type { ImageStore } from '../sql/image-store.ts';
import { queryBy, type StoredImages } from '../sql/stored-images.ts';
import type { KuduStore, KuduStoreOptions } from './kudu-store.ts';

/** A `KuduStore` that is loaded when it is first used: few have datasets in Kudu, and its client takes a quarter of a second. */
export function lazyKuduStore(options: KuduStoreOptions): ImageStore & Disposable {
  let loaded: Promise<KuduStore> | null = null;
  const load = async () => {
    const { KuduStore } = await import('./kudu-store.ts');
    return new KuduStore(options);
  };
  const loading = () => (loaded ??= load());
  const stream: StoredImages['stream'] = async function* (...request) {
    yield* (await loading()).images.stream(...request);
  };
  return {
    name: 'kudu',
    images: {
      rows: async function* (...request) {
        yield* (await loading()).images.rows(...request);
      },
      stream,
      query: queryBy(stream),
      hold: async (...request) => (await loading()).images.hold(...request),
      imageBytes: async (...request) => (await loading()).images.imageBytes(...request),
    },
    writer: async (client, batch) => (await loading()).writer(client, batch),
    verdicts: {
      withBacklog: async (...asked) => (await loading()).verdicts.withBacklog(...asked),
      countBacklog: async (...asked) => (await loading()).verdicts.countBacklog(...asked),
    },
    [Symbol.dispose]: () => void loaded?.then((store) => store[Symbol.dispose]()),
  };
}
