import type { ImageStores } from '../sql/image-store.ts';
import { postgresStore } from '../sql/postgres-store.ts';
import type { KuduStoreOptions } from './kudu-store.ts';
import { lazyKuduStore } from './lazy-store.ts';

/** The stores that a process works with; Kudu is connected when a dataset is there. Close it with `using`. */
export function openStores(options: KuduStoreOptions): ImageStores & Disposable {
  const kudu = lazyKuduStore(options);
  return { postgres: postgresStore, kudu, [Symbol.dispose]: () => kudu[Symbol.dispose]() };
}
