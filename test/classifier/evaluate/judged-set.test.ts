import { expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import {
  agreement,
  decodeKeys,
  encodeKeys,
  type JudgedSet,
  JudgedSetBuilder,
} from '../../../classifier/evaluate/judged-set.ts';
import { mulberry32 } from '../../../classifier/train/random.ts';

interface Image {
  id: string;
  known: number;
  bytes: string;
  correct: boolean;
}

function judged(images: Image[]): JudgedSet {
  const builder = new JudgedSetBuilder();
  for (const { id, known, bytes, correct } of images) {
    builder.add(id, known, createHash('sha256').update(bytes).digest(), correct);
  }
  return builder.finish();
}

const image = (n: number, correct: boolean): Image => ({ id: `${n}`, known: n % 10, bytes: `${n}`, correct });

test('two evaluations are compared on the images that both were about', () => {
  const random = mulberry32(1);
  const first = Array.from({ length: 3000 }, (_, n) => image(n, random() < 0.9));
  const second = Array.from({ length: 3000 }, (_, n) => image(n + 1000, random() < 0.8));
  const expected = { images: 2000, bothRight: 0, onlyFirst: 0, onlySecond: 0, neither: 0 };
  for (let n = 1000; n < 3000; n++) {
    const [a, b] = [first[n]!.correct, second[n - 1000]!.correct];
    expected[a ? (b ? 'bothRight' : 'onlyFirst') : b ? 'onlySecond' : 'neither'] += 1;
  }
  expect(agreement(judged(first), judged(second))).toEqual(expected);
});

test('an image that was relabelled or replaced is another one', () => {
  const before = judged([image(1, true), image(2, true), image(3, false)]);
  const after = judged([image(1, true), { ...image(2, true), known: 9 }, { ...image(3, true), bytes: 'x' }]);
  expect(agreement(before, after)).toMatchObject({ images: 1, bothRight: 1 });
});

test('the same images have the same keys in whatever order they came, and survive storage', () => {
  const images = Array.from({ length: 100 }, (_, n) => image(n, n % 3 === 0));
  const [one, other] = [judged(images), judged(images.toReversed())];
  expect(encodeKeys(one.keys).sha256).toEqual(encodeKeys(other.keys).sha256);
  expect(one.correct).toEqual(other.correct);
  const unaligned = Buffer.concat([Buffer.from('x'), encodeKeys(one.keys).bytes]).subarray(1);
  expect(decodeKeys(unaligned)).toEqual(one.keys);
  expect(one.keys.every((key, place) => place === 0 || key > one.keys[place - 1]!)).toBe(true);
});
