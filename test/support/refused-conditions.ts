import type { DuplicatesOptions } from '../../duplicates/find-duplicates.ts';

/** Conditions that a search for duplicates refuses, and what it says of them. */
export const REFUSED_CONDITIONS: [string, DuplicatesOptions, RegExp][] = [
  ['a condition that is none', { selection: { where: 'id +' } }, /--where id \+ cannot be used: syntax/],
  ['another that is none', { across: 'id' }, /--across id cannot be used/],
  ['another that writes', { across: "nextval('imagehub.revision') > 0" }, /--across .* read-only/],
  [
    'another that fails on an image',
    { across: 'width / 0 > 1', selection: { where: 'true' } },
    /--across .*by zero/,
  ],
  [
    'one that fails beside another',
    { across: 'true', selection: { where: 'width / 0 > 1' } },
    /--where .*by zero/,
  ],
  ['one that frees itself', { across: 'true) or (true' }, /--across .* cannot be used/],
];
