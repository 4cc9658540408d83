import { expect, test } from '@jest/globals';
import type { ImageFailure } from '../../images/bad-image.ts';
import { decodeGroups } from '../../images/decode-groups.ts';

const images = Array.from({ length: 6 }, (_, i) => Uint8Array.of(i));
const MIB = 1024 * 1024;
const collect = async (
  decode: (bytes: Uint8Array) => Promise<number> | number,
  bytes: number,
  events: string[] = [],
) => {
  const failures: ImageFailure[] = [];
  const groups: number[][] = [];
  const release = (value: number) => void events.push(`release ${value}`);
  for await (const group of decodeGroups(images, decode, () => bytes, failures, release)) {
    events.push('group');
    groups.push(group.map(({ index, decoded }) => 100 * index + decoded));
  }
  return { groups, failures: failures.map(({ index }) => index) };
};

const now = ([value]: Uint8Array) => value!;
const later = async ([value]: Uint8Array) => value!;
/** Those with odd numbers take their time. */
const mixed = ([value]: Uint8Array) => (value! % 2 === 0 ? value! : Promise.resolve(value!));

test.each([
  ['at once', now],
  ['on other threads', later],
  ['here and there', mixed],
])('images decoded %s come in order, in groups that memory allows', async (_, decode) => {
  expect((await collect(decode, 6 * MIB)).groups).toEqual([
    [0, 101, 202],
    [303, 404, 505],
  ]);
});

test('two are under way at a time when others decode them, one when we do', async () => {
  let open = 0;
  let most = 0;
  const slowly = async ([value]: Uint8Array) => {
    most = Math.max(most, ++open);
    await new Promise(setImmediate);
    open--;
    return value!;
  };
  await collect(slowly, 1);
  expect(most).toBe(2);
});

test.each([
  ['thrown', now],
  ['rejected', later],
])('a bad image, %s, is a failure and its neighbours are not', async (_, decode) => {
  const picky = (bytes: Uint8Array) => {
    if (bytes[0] === 1 || bytes[0] === 2 || bytes[0] === 5) {
      if (decode === now) throw new Error('bad');
      return Promise.reject(new Error('bad'));
    }
    return decode(bytes);
  };
  expect(await collect(picky, 1)).toEqual({ groups: [[0, 303, 404]], failures: [1, 2, 5] });
});

test('every image is released once, after its group was worked on', async () => {
  const events: string[] = [];
  await collect(later, 8 * MIB, events);
  const released = [0, 1, 2, 3, 4, 5].map((i) => `release ${i}`);
  expect(events.filter((event) => event !== 'group')).toEqual(released);
  expect(events.slice(0, 4)).toEqual(['group', 'release 0', 'release 1', 'group']);
});

test('images that nobody waits for any more are released too', async () => {
  const events: string[] = [];
  const release = (value: number) => void events.push(`release ${value}`);
  for await (const _ of decodeGroups(images, later, () => 16 * MIB, [], release)) break;
  await new Promise(setImmediate);
  expect(events).toEqual(['release 0', 'release 1']);
});
