import { describe, expect, test } from '@jest/globals';
import { STORE_SUPPORT, type StoreName, type StoreSupport } from '../../../sql/image-store.ts';

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

/**
 * A test of what not every store can do. Where it cannot, it is tested that it is refused with an error that says so, or, where
 * there is nothing to be refused, shown as skipped, with the reason in its title.
 * @param refused what must be rejected there with NOT_SUPPORTED
 */
export function testWhere(
  store: StoreName,
  capability: keyof StoreSupport,
  title: string,
  body: () => Promise<void>,
  refused?: () => Promise<unknown>,
): void {
  if (STORE_SUPPORT[store][capability]) test(title, body);
  else if (refused) {
    test(`${title}: refused with an error that says so (no ${capability})`, async () => {
      await expect(refused()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
    });
  } else test.skip(`${title}: ${store} has no ${capability}`, body);
}
