import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

type Coordinates = [topic: string | null, partition: number, epoch: number, offset: number, second: number];

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

/** For each pair: is the first newer than the second? */
async function isNewer(pairs: [Coordinates, Coordinates][]): Promise<boolean[]> {
  const columns = Array.from({ length: 10 }, (_, column) => pairs.map((pair) => pair.flat()[column]));
  const { rows } = await db.pool.query<{ newer: boolean }>(
    `select imagehub.is_newer(t, p, e, o, to_timestamp(s), ot, op, oe, oo, to_timestamp(os)) as newer
     from rows from (unnest($1::text[]), unnest($2::int[]), unnest($3::int[]), unnest($4::bigint[]), unnest($5::float8[]),
       unnest($6::text[]), unnest($7::int[]), unnest($8::int[]), unnest($9::bigint[]), unnest($10::float8[]))
       with ordinality as pair (t, p, e, o, s, ot, op, oe, oo, os, n) order by n`,
    columns,
  );
  return rows.map(({ newer }) => newer);
}

describe('which of two messages for a key is newer', () => {
  test.each<[string, Coordinates, Coordinates, boolean]>([
    ['a higher offset of the partition is', ['t', 0, 0, 8, 1], ['t', 0, 0, 7, 1], true],
    ['a lower offset of the partition is not', ['t', 0, 0, 6, 1], ['t', 0, 0, 7, 1], false],
    ['the same message is not', ['t', 0, 0, 7, 1], ['t', 0, 0, 7, 1], false],
    ['in one partition the offset outweighs the clock', ['t', 0, 0, 8, 1], ['t', 0, 0, 7, 9], true],
    ['in one partition the clock cannot help', ['t', 0, 0, 6, 9], ['t', 0, 0, 7, 1], false],
    ['across partitions the later one is', ['t', 1, 0, 1, 9], ['t', 0, 0, 7, 1], true],
    ['across partitions the earlier one is not', ['t', 1, 0, 9, 1], ['t', 0, 0, 7, 2], false],
    ['at the same time the higher partition is', ['t', 1, 0, 1, 1], ['t', 0, 0, 7, 1], true],
    ['at the same time the lower partition is not', ['t', 0, 0, 9, 1], ['t', 1, 0, 7, 1], false],
    ['from another topic the later one is', ['u', 0, 0, 1, 9], ['t', 0, 0, 7, 1], true],
    ['from another topic at the same time the higher offset is', ['u', 0, 0, 8, 1], ['t', 0, 0, 7, 1], true],
    ['in a new epoch the later one is, whatever its offset', ['t', 0, 1, 0, 9], ['t', 0, 0, 7, 1], true],
    ['in a new epoch the earlier one is not', ['t', 0, 1, 9, 1], ['t', 0, 0, 7, 2], false],
    ['any message is newer than a row that no message wrote', ['t', 0, 0, 0, 0], [null, 0, 0, 0, 0], true],
  ])('%s', async (_title, message, stored, expected) => {
    expect(await isNewer([[message, stored]])).toEqual([expected]);
  });

  test('two different messages of one topic and epoch: exactly one of the two is newer', async () => {
    const place = fc.tuple(
      fc.constant('t'),
      fc.integer({ min: 0, max: 2 }),
      fc.constant(0),
      fc.integer({ min: 0, max: 3 }),
      fc.integer({ min: 0, max: 3 }),
    );
    const pairs = fc.sample(fc.tuple(place, place), 2000) as [Coordinates, Coordinates][];
    const different = pairs.filter(([a, b]) => a[1] !== b[1] || a[3] !== b[3]);
    expect(different.length).toBeGreaterThan(1000);
    const forth = await isNewer(different);
    const back = await isNewer(different.map(([a, b]) => [b, a]));
    expect(forth.map((newer, index) => newer !== back[index])).toEqual(different.map(() => true));
  });
});
