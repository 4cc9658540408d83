import { expect, test } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import { checkpointFile, openCheckpoint } from '../../../ingest/senders/checkpoint.ts';
import type { ImageSource } from '../../../ingest/senders/image.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const source = (version = '1'): ImageSource => ({
  name: 's',
  key: 'tar:/s',
  version,
  images: () => {
    throw new Error('not read here');
  },
});

test('a checkpoint tells where a send stopped, until it is done', async () => {
  await using folder = await temporaryFolder();
  const file = checkpointFile(folder.path, ['mnist'], 'tar:/s');
  const first = await openCheckpoint(file, source(), false);
  expect(first).toMatchObject({ resume: undefined, sentBefore: 0 });
  await first.save('a', 10);
  await first.save('b', 20);
  const second = await openCheckpoint(file, source(), false);
  expect(second.resume?.position).toBe('b');
  expect(second.sentBefore).toBe(20);
  await second.save('c', 30);
  expect((await openCheckpoint(file, source(), false)).resume?.startedAt).toBe(second.resume?.startedAt);
  await second.done();
  expect((await openCheckpoint(file, source(), false)).resume).toBeUndefined();
});

test('other content, --restart and a damaged checkpoint begin at the start', async () => {
  await using folder = await temporaryFolder();
  const file = checkpointFile(folder.path, ['mnist'], 'tar:/s');
  await (await openCheckpoint(file, source(), false)).save('b', 20);
  expect((await openCheckpoint(file, source('2'), false)).resume).toBeUndefined();
  expect((await openCheckpoint(file, source(), true)).resume).toBeUndefined();
  await writeFile(file, '{"position":"b","ver');
  expect((await openCheckpoint(file, source(), false)).resume).toBeUndefined();
});

test('another dataset or another way of labelling has a checkpoint of its own', () => {
  const files = [['a'], ['b'], ['a', 'labels.csv']].map((scope) => checkpointFile('/home', scope, 'tar:/s'));
  expect(new Set([...files, checkpointFile('/home', ['a'], 'tar:/t')]).size).toBe(4);
});
