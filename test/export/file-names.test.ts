import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { csvCell, imagePath } from '../../export/file-names.ts';
import { classFolders } from '../../export/folder.ts';

test.each([
  ['train/17.png', 'png', 'train/17.png'],
  ['train-images-idx3-ubyte/17', 'png', 'train-images-idx3-ubyte/17~.png'],
  ['photo', 'jpeg', 'photo~.jpg'],
  ['../../etc/passwd', 'png', '%2E%2E/%2E%2E/etc/passwd~.png'],
  ['/root.png', 'png', '%/root.png'],
  ['a.png/b.png', 'png', 'a.png~/b.png'],
  ['c:\\x.jpg', 'jpeg', 'c%3A%5Cx.jpg'],
  ['.hidden.png', 'png', '%2Ehidden.png'],
])('%s becomes %s', (id, format, path) => {
  expect(imagePath(id, format)).toBe(path);
});

test('different ids never get the same file, nor one that is another’s folder, nor one outside', () => {
  const part = fc.oneof(
    fc.constantFrom(
      'a',
      'a.png',
      'a~',
      'a~.png',
      '.',
      '..',
      '',
      '%',
      'a%7E.png',
      'x'.repeat(300),
      'é'.repeat(130),
    ),
    fc.string({ unit: 'binary', maxLength: 4 }),
  );
  const id = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
  fc.assert(
    fc.property(id, id, (one, other) => {
      const [first, second] = [imagePath(one, 'png'), imagePath(other, 'png')];
      for (const component of first.split('/')) {
        expect(Buffer.byteLength(component)).toBeLessThanOrEqual(255);
        expect(component).not.toMatch(/^\.|^$|[\0\\]/);
      }
      if (one === other) return;
      expect(first).not.toBe(second);
      expect(second.startsWith(`${first}/`)).toBe(false);
    }),
    { numRuns: 3000 },
  );
});

test('classes of any name have folders of their own, beside that of the unlabelled', () => {
  const names = ['cat', 'unlabelled', 'a/b', 'a%2Fb', '..', 'labels.csv', '_export.json', 'unlabelled~'];
  const folders = classFolders(names);
  expect(new Set([...folders, 'unlabelled', 'labels.csv', '_export.json']).size).toBe(names.length + 3);
  expect(folders.join(' ')).not.toMatch(/\/|(^| )\.\.( |$)/);
});

test.each([
  ['plain', 'plain'],
  ['a,b', '"a,b"'],
  ['say "hi"', '"say ""hi"""'],
  ['two\nlines', '"two\nlines"'],
  [' space', '" space"'],
])('%j in a CSV is %j', (text, cell) => {
  expect(csvCell(text)).toBe(cell);
});
