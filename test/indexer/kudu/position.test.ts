import { expect, test } from '@jest/globals';
import {
  advancePosition,
  announceEnd,
  forgetPosition,
  readKuduLags,
  readPosition,
  recordBehind,
  resetPosition,
} from '../../../indexer/kudu/position.ts';
import { createDataset } from '../../../sql/datasets.ts';
import { freshDatabase } from '../../support/servers.ts';

test('the position goes on with whoever follows, and back with a rebuild, which whoever follows notices', async () => {
  await using database = await freshDatabase();
  const { pool } = database;
  await createDataset(pool, { name: 'digits', classes: ['a'], store: 'kudu' }, (client) =>
    client.query(`insert into imagehub.kudu_stores values ('digits', 'digits', 'some id')`),
  );
  const past = '2026-01-01 00:00:00+00';
  const now = async () => (await readPosition(pool, 'digits'))!;
  const lag = async (followed = true) => (await readKuduLags(pool, followed)).get('digits');
  expect(await readPosition(pool, 'digits')).toBeNull();
  expect(await lag()).toBeNull();

  // Above what fits into 63 bits.
  const far = 2n ** 63n + 5n;
  await resetPosition(pool, 'digits', far, past);
  expect(await now()).toMatchObject({ position: far, generation: 1 });
  expect(await lag()).toBeGreaterThan(3600);
  expect(await advancePosition(pool, 'digits', 1, far + 10n, past)).toBe(true);
  expect(await lag()).toBe(0);
  expect(await lag(false)).toBeGreaterThan(3600);
  await recordBehind(pool, 'digits', 1, null);
  expect(await lag()).toBeGreaterThan(3600);

  // What was being written may be made of other class names: from there again, though the new index has it.
  await resetPosition(pool, 'digits', far + 20n, past);
  expect(await now()).toMatchObject({ position: far + 10n, ends: [far + 20n], generation: 2 });
  expect(await advancePosition(pool, 'digits', 1, far + 30n, past)).toBe(false);
  await resetPosition(pool, 'digits', far + 5n, past);
  expect(await now()).toMatchObject({ position: far + 5n, ends: [far + 10n, far + 20n], generation: 3 });

  // Scans end where documents may be already, each in its turn.
  expect(await announceEnd(pool, 'digits', 3, far + 20n)).toBe(false);
  expect(await advancePosition(pool, 'digits', 3, far + 20n, past)).toBe(false);
  expect(await announceEnd(pool, 'digits', 3, far + 10n)).toBe(true);
  expect(await advancePosition(pool, 'digits', 3, far + 10n, null)).toBe(true);
  expect(await lag()).toBeGreaterThan(3600);
  expect(await advancePosition(pool, 'digits', 3, far + 20n, past)).toBe(true);
  expect(await now()).toMatchObject({ position: far + 20n, ends: [] });
  expect(await announceEnd(pool, 'digits', 2, far + 30n)).toBe(false);
  expect(await announceEnd(pool, 'digits', 3, far + 30n)).toBe(true);
  expect(await announceEnd(pool, 'digits', 3, far + 40n)).toBe(false);
  expect(await now()).toMatchObject({ position: far + 20n, ends: [far + 30n] });
  // Whoever is slow does not take the position back.
  expect(await advancePosition(pool, 'digits', 3, far + 15n, past)).toBe(false);

  await forgetPosition(pool, 'digits', 2);
  expect(await now()).toMatchObject({ position: far + 20n, generation: 3 });
  await forgetPosition(pool, 'digits', 3);
  expect(await now()).toMatchObject({ position: null, generation: 4 });
  expect(await lag()).toBeNull();
  await resetPosition(pool, 'digits', far + 50n, past);
  expect(await now()).toMatchObject({ position: far + 50n, generation: 5 });
});
