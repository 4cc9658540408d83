import { expect, test } from '@jest/globals';
import { symlink, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { openFolder } from '../../../ingest/senders/folder.ts';
import { collect, NEVER, recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

test('a folder gives its images sorted by their path inside it', async () => {
  await using folder = await temporaryFolder();
  for (const name of ['b/2.png', 'b/10.JPG', 'a.webp', 'b-c/1.tiff', 'ü/ä.bmp'])
    await folder.write(name, name);
  const omissions = recordOmissions();
  const source = await openFolder(folder.path, omissions);
  const images = await collect(source.images(undefined, NEVER));
  expect(source.total).toBe(5);
  expect(images.map(({ id }) => id)).toEqual(['a.webp', 'b-c/1.tiff', 'b/10.JPG', 'b/2.png', 'ü/ä.bmp']);
  expect(images.map(({ bytes }) => bytes.toString())).toEqual(images.map(({ id }) => id));
  expect(omissions).toMatchObject({ skipped: [], refused: [] });
});

test('what is no image is counted, what should have been one is refused by name, and the rest is sent', async () => {
  await using folder = await temporaryFolder();
  await folder.write('good.png', 'x');
  await folder.write('notes.txt', 'x');
  await folder.write('.hidden.png', 'x');
  await folder.write('empty.png', '');
  await writeFile(
    Buffer.concat([Buffer.from(`${folder.path}/caf`), Buffer.from([0xe9]), Buffer.from('.png')]),
    'x',
  );
  await symlink('nowhere', folder.at('dead.png'));
  await symlink('.', folder.at('circle'));
  await symlink('good.png', folder.at('linked.png'));
  const omissions = recordOmissions();
  const source = await openFolder(folder.path, omissions);
  const images = await collect(source.images(undefined, NEVER));
  expect(images.map(({ id }) => id)).toEqual(['good.png', 'linked.png']);
  expect(omissions.skipped.sort()).toEqual([
    '.hidden.png: hidden file',
    'circle: link to a folder',
    'notes.txt: not an image by its extension',
  ]);
  expect(omissions.refused.sort()).toEqual([
    'café.png: file name that is not UTF-8',
    'dead.png: link that leads nowhere',
    'empty.png: empty file (an empty message would delete the image)',
  ]);
});

test('going on leaves out what was sent, but not what was put into the folder since', async () => {
  await using folder = await temporaryFolder();
  for (const name of ['a.png', 'b.png', 'c.png', 'd.png']) await folder.write(name, name);
  await sleep(20);
  const startedAt = Date.now();
  await sleep(20);
  await folder.write('a2.png', 'new');
  // A copy that keeps its old modification time.
  await utimes(folder.at('a2.png'), 1, 1);
  await folder.write('b.png', 'changed');
  const source = await openFolder(folder.path, recordOmissions());
  const images = await collect(source.images({ position: 'c.png', startedAt }, NEVER));
  expect(images.map(({ id }) => id)).toEqual(['a2.png', 'b.png', 'd.png']);
});
