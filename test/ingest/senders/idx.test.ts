import { describe, expect, test } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { openSources } from '../../../ingest/senders/open.ts';
import { readLabelFile } from '../../../ingest/senders/labels-file.ts';
import { idxImages, idxLabels } from '../../support/idx-files.ts';
import { collect, NEVER, recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const DIGITS = '0123456789'.split('');
const dataset = { name: 'digits', classes: DIGITS };

const open = async (paths: string[], labels?: string, classes = DIGITS) => {
  const notes: string[] = [];
  const sources = await openSources(paths, {
    dataset: { ...dataset, classes },
    labelFile: labels === undefined ? null : await readLabelFile(labels, classes),
    omissions: recordOmissions(),
    input: process.stdin,
    note: (text) => notes.push(text),
  });
  return { source: sources[0]!, sources, notes };
};

describe.each([
  ['train-images-idx3-ubyte', 'train-labels-idx1-ubyte'],
  ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'],
  ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte'],
  ['t10k-images.idx3-ubyte', 't10k-labels.idx1-ubyte'],
])('%s beside %s', (images, labels) => {
  test('becomes PNGs with the ids <file name>/<index> and the labels found by themselves', async () => {
    await using folder = await temporaryFolder();
    const pack = (name: string, bytes: Buffer) => (name.endsWith('.gz') ? gzipSync(bytes) : bytes);
    const path = await folder.write(images, pack(images, idxImages(3, 5, 4)));
    await folder.write(labels, pack(labels, idxLabels([7, 0, 9])));
    const { source } = await open([path]);
    expect(source.total).toBe(3);
    const sent = await collect(source.images(undefined, NEVER));
    const name = images.replace('.gz', '');
    expect(sent.map(({ id, label }) => [id, label])).toEqual([
      [`${name}/0`, '7'],
      [`${name}/1`, '0'],
      [`${name}/2`, '9'],
    ]);
    const { data, info } = await sharp(sent[2]!.bytes)
      .toColourspace('b-w')
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 5, height: 4, channels: 1 });
    expect([...data]).toEqual(Array(20).fill(2));
  });
});

test('an index in the label file means the class of that index, whatever the classes are called', async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write('train-images-idx3-ubyte', idxImages(2, 2, 2));
  await folder.write('train-labels-idx1-ubyte', idxLabels([0, 1]));
  const { source } = await open([path], undefined, ['1', '0']);
  expect((await collect(source.images(undefined, NEVER))).map(({ label }) => label)).toEqual(['1', '0']);
});

test('without a label file the labels are sent as unknown, so that no rule reads one from the index', async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write('train-images-idx3-ubyte', idxImages(2, 2, 2));
  const { source, notes } = await open([path]);
  expect((await collect(source.images(undefined, NEVER))).map(({ label }) => label)).toEqual(['', '']);
  expect(notes).toEqual([
    `${path}: no label file train-labels-idx1-ubyte beside it; the labels stay unknown.`,
  ]);
});

test('a label file given beside the images or by --labels is used, whatever its name', async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write('a-idx3', idxImages(2, 2, 2));
  const labels = await folder.write('answers', idxLabels([4, 5]));
  for (const { source, sources } of [await open([path, labels]), await open([path], labels)]) {
    expect(sources).toHaveLength(1);
    expect((await collect(source.images(undefined, NEVER))).map(({ label }) => label)).toEqual(['4', '5']);
  }
});

test('going on starts behind the last image sent', async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write('x-images-idx3-ubyte.gz', gzipSync(idxImages(200, 28, 28)));
  const { source } = await open([path]);
  const all = await collect(source.images(undefined, NEVER));
  const rest = await collect(source.images({ position: all[149]!.position, startedAt: 0 }, NEVER));
  expect(rest).toEqual(all.slice(150));
});

describe('is refused before anything is sent:', () => {
  const whole = idxImages(3, 4, 4);
  const gzip = gzipSync(whole);
  test.each<[string, string, Buffer, string]>([
    ['an image file cut short', 'images-idx3-ubyte', whole.subarray(0, -5), 'only 2 images are whole'],
    [
      'a compressed file whose content is cut short',
      'images-idx3-ubyte.gz',
      gzipSync(whole.subarray(0, -5)),
      'only 2 images are whole',
    ],
    [
      'a compressed file that is cut short itself',
      'images-idx3-ubyte.gz',
      gzip.subarray(0, -6),
      'damaged or cut short',
    ],
    [
      'a file that is too long',
      'images-idx3-ubyte',
      Buffer.concat([whole, Buffer.from([1])]),
      'holds more than that',
    ],
    ['a header cut short', 'images-idx3-ubyte', whole.subarray(0, 9), 'is no IDX image file'],
    ['an empty file', 'images-idx3-ubyte', Buffer.alloc(0), 'starts with nothing'],
    ['another magic number', 'images-idx3-ubyte', Buffer.from('00000d03', 'hex'), 'starts with 00 00 0d 03'],
    ['images without pixels', 'images-idx3-ubyte', idxImages(3, 0, 4), 'are 0 × 4 pixels large'],
  ])('%s', async (_what, name, bytes, message) => {
    await using folder = await temporaryFolder();
    const path = await folder.write(name, bytes);
    await expect(open([path])).rejects.toMatchObject({
      code: 'BAD_FILE',
      message: expect.stringContaining(message),
    });
  });

  test.each<[string, Buffer, string]>([
    ['a label count that differs', idxLabels([1, 2]), 'holds 3 images, but'],
    ['a label file cut short', idxLabels([1, 2, 3]).subarray(0, -1), 'should hold 3 labels and holds 2'],
    ['a label that is no class', idxLabels([1, 2, 10]), 'label 10 of image 2 is no class index'],
    ['a label file of another kind', Buffer.from('1,2,3\n'), 'is no IDX label file'],
  ])('%s', async (_what, labels, message) => {
    await using folder = await temporaryFolder();
    const path = await folder.write('train-images-idx3-ubyte', idxImages(3, 4, 4));
    await folder.write('train-labels-idx1-ubyte', labels);
    await expect(open([path])).rejects.toMatchObject({
      code: 'BAD_FILE',
      message: expect.stringContaining(message),
    });
  });

  test('a label file alone', async () => {
    await using folder = await temporaryFolder();
    const path = await folder.write('train-labels-idx1-ubyte', idxLabels([1]));
    await expect(open([path])).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('holds labels'),
    });
  });
});
