import { describe } from '@jest/globals';
import { STORE_SUPPORT, type StoreName } from '../../../sql/image-store.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];

/** Set where no Kudu runs on this machine, which jest.config.js says aloud; in CI it never is. */
const withoutKudu = process.env.IMAGEHUB_TEST_WITHOUT_KUDU === '1';

/** The same tests for every store, titled `<title> in postgres` and `… in kudu`. */
export function describeEachStore(title: string, tests: (store: StoreName) => void): void {
  for (const store of STORES) {
    const run = store === 'kudu' && withoutKudu ? describe.skip : describe;
    run(`${title} in ${store}`, () => tests(store));
  }
}
