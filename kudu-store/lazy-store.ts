import type { ImageStore } from '../sql/image-store.ts';
import type { KuduStore, KuduStoreOptions } from './kudu-store.ts';

/** A `KuduStore` that is loaded when it is first asked for: few have datasets in Kudu, and its client takes a quarter of a second. */
export function lazyKuduStore(options: KuduStoreOptions): ImageStore & Disposable {
  let loaded: Promise<KuduStore> | null = null;
  const load = async () => {
    const { KuduStore } = await import('./kudu-store.ts');
    return new KuduStore(options);
  };
  return {
    name: 'kudu',
    warmUp: async () => (await (loaded ??= load())).warmUp(),
    writer: async (client, batch) => (await (loaded ??= load())).writer(client, batch),
    [Symbol.dispose]: () => void loaded?.then((store) => store[Symbol.dispose]()),
  };
}
