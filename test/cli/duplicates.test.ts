import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDataset } from '../../sql/datasets.ts';
import { insertHashed } from '../support/hashed-rows.ts';
import { pictureHash, turned } from '../support/hashes.ts';
import { imagehub } from '../support/imagehub.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog'] });
  await insertHashed(db.pool, 'pets', [
    { id: 'a', phash: pictureHash(1), side: 64, bytes: 'a' },
    { id: 'a copy', phash: pictureHash(1), side: 64, bytes: 'a' },
    { id: 'b', phash: pictureHash(2), side: 64 },
    { id: 'b small', phash: turned(pictureHash(2), 1, 2, 3, 4), known: 1 },
    { id: 'c', phash: pictureHash(3), side: 64, known: 0 },
    { id: 'c small', phash: pictureHash(3), known: 1 },
    { id: 'blank', phash: 0n },
  ]);
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const duplicates = (...args: string[]) =>
  imagehub(['duplicates', ...args], { env: { IMAGEHUB_POSTGRES_URL: db.url } });

interface Report {
  groups: { group: string; members: { id: string }[] }[];
  done: Record<string, unknown> | null;
}
const json = async (...args: string[]) =>
  JSON.parse((await duplicates('pets', ...args, '--json')).stdout) as Report;
const namesIn = ({ groups }: Report) => groups.map(({ group }) => group);

test('imagehub duplicates lists groups; labels, deletes and ignores them', async () => {
  const text = (await duplicates('pets', '--limit', '2')).stdout;
  expect(text).toMatch(/^3 groups \(1 exact, 2 near\) among 7 images of pets, within 6 of 64 bits: 3 images/);
  expect(text).toMatch(/1 groups have known labels that contradict each other/);
  expect(text).toMatch(/1 images are too plain/);
  expect(text).toMatch(/So many near duplicates are rare/);
  expect((await duplicates('pets', '--where', "id like 'a%'")).stdout).not.toMatch(/So many/);
  // The contradiction comes first; the third is counted.
  expect(text).toMatch(/│ c +│ c small +│ cat: 1, dog: 1 \(!\) +│ near +│ +2 +│ +0 │/);
  expect(text).toMatch(/… and 1 more groups/);

  expect(namesIn(await json())).toEqual(['c', 'a', 'b']);
  expect(namesIn(await json('--distance', '3'))).toEqual(['c', 'a']);
  expect(namesIn(await json('--exact'))).toEqual(['a']);
  expect(namesIn(await json('--where', "id like 'b%'"))).toEqual(['b']);
  const across = await json('--across', "id like '%small'");
  expect(across.groups).toMatchObject([
    { group: 'c small', members: [{ id: 'c', distance: 0, exact: false, stays: false }] },
    { group: 'b small', members: [{ id: 'b', distance: 4 }] },
  ]);
  expect(JSON.stringify(across)).not.toContain('"state"');

  const ignored = await duplicates('pets', '--ignore', '--group', 'a', '--by', 'ada');
  expect(ignored.stdout).toMatch(/1 groups are not found again/);
  expect(namesIn(await json())).toEqual(['c', 'b']);
  expect((await duplicates('pets', '--ignored')).stdout).toMatch(/│ a +│ a +│ ada +│/);
  expect((await duplicates('pets', '--unignore', '--group', 'a')).stdout).toMatch(/^1 groups of pets/);

  const labelled = await duplicates('pets', '--label', '--by', 'ada');
  expect(labelled.stdout).toMatch(
    /1 images have the label.*1 groups were left alone.*relabel undo pets \d+/s,
  );
  const { rows } = await db.pool.query("select id, known_label from pets where labelled_by = 'ada'");
  expect(rows).toEqual([{ id: 'b', known_label: 1 }]);

  const unasked = await duplicates('pets', '--delete');
  expect(unasked).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/2 images .* deleted.*Look at some.*--yes/s),
  });
  const deleted = await duplicates('pets', '--delete', '--yes');
  expect(deleted.stdout).toMatch(/2 images were deleted.*1 groups were left alone: their labels contradict/s);
  expect((await json('--delete', '--yes', '--group', 'c')).done).toMatchObject({
    action: 'delete',
    deleted: 1,
  });
  const left = await db.pool.query<{ id: string }>('select id from pets order by id');
  expect(left.rows.map(({ id }) => id)).toEqual(['a', 'b', 'blank', 'c']);
  expect((await duplicates('pets', '--delete')).stdout).toMatch(/^0 groups.*0 images were deleted/s);
});

test.each([
  ['two actions', ['--delete', '--label'], /one thing at a time: --label or --delete/],
  ['a distance that is none', ['--distance', 'six'], /--distance six is not a whole number/],
  ['a distance that is too large', ['--distance', '40'], /40 is no distance/],
  ['a distance of bytes', ['--distance', '2', '--exact'], /leave --distance out/],
  ['a group that is not there', ['--delete', '--group', 'z'], /No group of pets is named z/],
])('imagehub duplicates refuses %s, in words', async (_, args, message) => {
  expect(await duplicates('pets', ...args)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(message),
  });
});
