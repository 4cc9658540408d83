import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { groupDuplicates, type Group } from '../../duplicates/groups.ts';
import { MOST_DISTANCE } from '../../duplicates/near-hashes.ts';
import type { ComparedImages } from '../../duplicates/nodes.ts';
import { Pace } from '../../duplicates/pace.ts';
import { hammingDistance } from '../../images/phash.ts';
import { clusteredHashes, halves, pictureHash, turned } from '../support/hashes.ts';

interface Images {
  hashes: bigint[];
  /** What the bytes are, as a small number; left out: all have others. */
  bytes?: number[];
  /** Sets of images that are no duplicates of each other. */
  ignored?: number[][];
  /** Whether an image is on the side that stays. */
  side?: boolean[];
}

function compared({ hashes, bytes = [...hashes.keys()], ignored = [], side }: Images): ComparedImages {
  const sha256 = new Uint8Array(32 * hashes.length);
  bytes.forEach((value, image) => sha256.fill(value + 1, 32 * image, 32 * image + 32));
  const sets = new Map<number, number[]>();
  ignored.forEach((images, set) =>
    images.forEach((image) => sets.set(image, [...(sets.get(image) ?? []), set])),
  );
  return {
    images: hashes.length,
    ...halves(hashes),
    sha256,
    ignored: sets,
    side: side ? Uint8Array.from(side, Number) : null,
  };
}

const group = (images: Images, distance: number | null) =>
  groupDuplicates(compared(images), { distance, pace: new Pace() });

const shape = (groups: Group[]) =>
  groups.map(({ kept, members }) => [kept, ...members.map(({ image }) => image)]);

const isPlain = (hash: bigint) => hammingDistance(hash, 0n) < 16;

const anyImages = clusteredHashes.chain((hashes) =>
  fc.record({
    hashes: fc.constant(hashes),
    bytes: fc.array(fc.nat(8), { minLength: hashes.length, maxLength: hashes.length }),
    ignored: fc.array(fc.uniqueArray(fc.nat(hashes.length - 1), { maxLength: 5 }), { maxLength: 3 }),
    side: fc.array(fc.boolean(), { minLength: hashes.length, maxLength: hashes.length }),
  }),
);
const anyDistance = fc.option(fc.integer({ min: 0, max: MOST_DISTANCE }), { nil: null });

/** Whether two images show the same, as each pair is looked at alone. */
function alike({ hashes, bytes }: Required<Images>, a: number, b: number, distance: number | null): boolean {
  const plain = [a, b].filter((image) => distance === null || isPlain(hashes[image]!)).length;
  if (plain > 0) return plain === 2 && bytes[a] === bytes[b];
  return hammingDistance(hashes[a]!, hashes[b]!) <= distance!;
}

const apart = ({ ignored }: Required<Images>, a: number, b: number) =>
  ignored.some((set) => set.includes(a) && set.includes(b));

describe('groups', () => {
  test('are around the image that stays, each image is in one, and none is left out that could be in one', async () => {
    await fc.assert(
      fc.asyncProperty(anyImages, anyDistance, async ({ side: _, ...given }, distance) => {
        const images = { ...given, side: [] };
        const { groups, beside, plain } = await group(given, distance);
        const all = groups.flatMap(({ kept, members }) => [kept, ...members.map(({ image }) => image)]);
        expect(new Set(all).size).toBe(all.length);
        for (const { kept, members } of groups) {
          expect(members.length).toBeGreaterThan(0);
          const ids = [kept, ...members.map(({ image }) => image)];
          for (const { image, distance: far, exact } of members) {
            expect(image).toBeGreaterThan(kept);
            expect(alike(images, kept, image, distance)).toBe(true);
            expect(exact).toBe(images.bytes[kept] === images.bytes[image]);
            if (distance !== null && !isPlain(images.hashes[image]!)) {
              expect(far).toBe(hammingDistance(images.hashes[kept]!, images.hashes[image]!));
            }
          }
          for (const a of ids) for (const b of ids) if (a !== b) expect(apart(images, a, b)).toBe(false);
        }
        const single = [...images.hashes.keys()].filter((image) => !all.includes(image));
        for (const a of single) {
          for (const b of single) {
            if (a !== b && alike(images, a, b, distance)) expect(apart(images, a, b)).toBe(true);
          }
        }
        // Those that could not be where they would belong, and of which nobody said that they belong nowhere.
        const left = single.filter(
          (a) =>
            distance !== null &&
            !isPlain(images.hashes[a]!) &&
            !images.ignored.flat().includes(a) &&
            all.some((b) => alike(images, a, b, distance)),
        );
        expect(beside).toBe(left.length);
        expect(plain).toBe(images.hashes.filter(isPlain).length);
      }),
    );
  });

  test('across two sides are all pairs with an image on each', async () => {
    await fc.assert(
      fc.asyncProperty(anyImages, anyDistance, async (images, distance) => {
        const { groups } = await group(images, distance);
        const pairs = new Set<string>();
        for (const { kept, members } of groups) {
          const staying = [kept, ...members.map(({ image }) => image)].filter((image) => images.side[image]);
          const others = members.filter(({ image }) => !images.side[image]);
          expect(images.side[kept]).toBe(true);
          expect(others.length).toBeGreaterThan(0);
          for (const a of staying) for (const { image: b } of others) pairs.add(`${a} ${b}`);
        }
        const places = [...images.hashes.keys()];
        const wanted = places
          .filter((a) => images.side[a])
          .flatMap((a) =>
            places
              .filter((b) => !images.side[b] && alike(images, a, b, distance) && !apart(images, a, b))
              .map((b) => `${a} ${b}`),
          );
        expect([...pairs].sort()).toEqual(wanted.sort());
      }),
    );
  });

  test('do not grow from neighbour to neighbour: the end of a chain is told apart from what stays', async () => {
    const first = pictureHash(1);
    const chain = [first, turned(first, 0, 1, 2, 3), turned(first, 0, 1, 2, 3, 4, 5, 6, 7)];
    expect(await group({ hashes: chain }, 4)).toMatchObject({
      groups: [{ kept: 0, members: [{ image: 1, distance: 4, exact: false }] }],
      beside: 1,
    });
  });

  test('of the same bytes alone do not care for hashes', async () => {
    const hashes = [pictureHash(1), pictureHash(1), pictureHash(2), pictureHash(3)];
    const { groups } = await group({ hashes, bytes: [7, 8, 7, 8] }, null);
    expect(shape(groups)).toEqual([
      [0, 2],
      [1, 3],
    ]);
  });

  test('of plain images are those with the same bytes: they all have the same hash', async () => {
    const plain = 1n << 63n;
    const hashes = [plain, plain, plain, plain, 0n, pictureHash(1)];
    const { groups, plain: count } = await group({ hashes, bytes: [1, 2, 1, 3, 3, 1] }, 6);
    expect(shape(groups)).toEqual([
      [0, 2],
      [3, 4],
    ]);
    expect(count).toBe(5);
  });

  test('that were ignored are not found again, but a new copy is', async () => {
    const [one, plain] = [pictureHash(1), 1n];
    const hashes = [one, one, turned(one, 3, 9), plain, plain];
    const images = { hashes, bytes: [1, 1, 2, 3, 3] };
    expect(shape((await group(images, 6)).groups)).toEqual([
      [0, 1, 2],
      [3, 4],
    ]);
    const ignored = [
      [0, 1, 2],
      [3, 4],
    ];
    expect(await group({ ...images, ignored }, 6)).toMatchObject({ groups: [], beside: 0 });
    const more = { hashes: [...hashes, one, plain], bytes: [...images.bytes, 1, 3], ignored };
    expect(shape((await group(more, 6)).groups)).toEqual([
      [0, 5],
      [3, 6],
    ]);
  });
});

test('thirty thousand images with a few hashes are grouped at once, and an interrupt is obeyed', async () => {
  const hashes = Array.from({ length: 30_000 }, (_, n) => turned(pictureHash(1 + (n % 3)), n % 2));
  const images = compared({ hashes, bytes: hashes.map((_, n) => n % 200) });
  const { groups } = await groupDuplicates(images, { distance: 2, pace: new Pace() });
  expect(groups.reduce((sum, { members }) => sum + members.length + 1, 0)).toBe(30_000);
  const interrupted = groupDuplicates(images, { distance: 2, pace: new Pace(AbortSignal.abort()) });
  await expect(interrupted).rejects.toMatchObject({ code: 'INTERRUPTED' });
});
