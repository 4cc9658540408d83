import type { Config } from '../../config.ts';
import { openStores } from '../../kudu-store/open-stores.ts';
import { createLogger } from '../../log.ts';
import type { Pool } from '../../sql/database.ts';
import { postgresStore } from '../../sql/postgres-store.ts';
import type { ImageStores } from '../../sql/image-store.ts';

/** The stores as commands get them; without masters only Postgres's works. */
export const storesOf = (
  pool: Pool,
  config: Config,
  masters: string[] | null = null,
): ImageStores & Disposable =>
  openStores({
    masters,
    pool,
    sidePool: pool,
    cellBytes: config.kuduMaxCellBytes,
    log: createLogger(config),
  });

/** For what works on datasets in Postgres alone. */
export const POSTGRES_STORES: ImageStores = {
  postgres: postgresStore,
  get kudu(): never {
    throw new Error('this test has no Kudu');
  },
};
