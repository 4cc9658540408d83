import { describe, expect, test } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import { readLabelFile } from '../../../ingest/senders/labels-file.ts';
import { idxLabels } from '../../support/idx-files.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const CLASSES = ['ant', 'bee', 'cat'];

async function read(content: string | Buffer) {
  await using folder = await temporaryFolder();
  const file = await readLabelFile(await folder.write('labels.csv', content), CLASSES);
  return file.kind === 'csv' ? Object.fromEntries(file.byId) : [...file.values];
}

test.each([
  ['a header in any order, with more columns', 'label,score,File\nbee,0.5,a/1.png\n2,0.1,b.png\n'],
  ['no header', 'a/1.png,bee\nb.png,2\n'],
  ['tabs, a byte-order mark and Windows line ends', '\uFEFFid\tclass\r\na/1.png\tbee\r\nb.png\t2\r\n'],
  ['semicolons, spaces, empty lines and no last line end', 'path ; label\n\n./a/1.png ; bee\n\nb.png;2'],
  ['quotes', '"a/1.png","bee"\n"b.png","2"\n'],
  ['an image without a label', 'id,label\na/1.png,bee\nb.png,2\nc.png,\n'],
  ['the same line twice', 'id,label\na/1.png,bee\nb.png,2\na/1.png,bee\n'],
])('a CSV with %s is read', async (_what, content) => {
  expect(await read(content)).toEqual({ 'a/1.png': 'bee', 'b.png': '2' });
  expect(await read(gzipSync(content))).toEqual({ 'a/1.png': 'bee', 'b.png': '2' });
});

test('an IDX label file is known by its content, compressed or not', async () => {
  expect(await read(idxLabels([2, 0, 1]))).toEqual([2, 0, 1]);
  expect(await read(gzipSync(idxLabels([2, 0, 1])))).toEqual([2, 0, 1]);
});

describe('is refused with its line numbers:', () => {
  test.each([
    ['a row without a label', 'id,label\na.png,ant\nb.png\n', 'line 3: no label'],
    ['a row without an id', 'id,label\n,ant\n', 'line 2: no id'],
    [
      'two labels for one image',
      'a.png,ant\nb.png,bee\na.png,bee\n',
      'line 3: a.png is bee, but ant in line 1',
    ],
    ['more than two columns without a header', 'a.png,ant,0.5\n', 'line 1 has 3 columns and no header'],
    ['an open quote', 'id,label\n"a.png,ant\n', 'Quote'],
    ['a file without labels', 'id,label\n', 'holds no labels'],
    ['an empty file', '', 'holds no labels'],
    [
      'classes that the dataset does not have',
      'id,label\na.png,dog\nb.png,3\nc.png,dog\n',
      'no class of the dataset: “dog” (line 2); “3” (line 3). Its classes are: ant, bee, cat',
    ],
    ['many mistakes', Array(9).fill('x,\n,x\n').join(''), 'and 4 more'],
  ])('%s', async (_what, content, message) => {
    await expect(read(content)).rejects.toMatchObject({
      code: 'BAD_FILE',
      message: expect.stringContaining(message),
      hint: expect.stringContaining('Two columns are wanted'),
    });
  });

  test('a file that is not there', async () => {
    await expect(readLabelFile('/nowhere/labels.csv', CLASSES)).rejects.toMatchObject({ code: 'BAD_FILE' });
  });
});
