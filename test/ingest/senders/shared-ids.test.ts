import { expect, test } from '@jest/globals';
import { openSources } from '../../../ingest/senders/open.ts';
import { idxImages } from '../../support/idx-files.ts';
import { recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const open = (...paths: string[]) =>
  openSources(paths, {
    dataset: { name: 'pets', classes: ['0'] },
    labelFile: null,
    omissions: recordOmissions(),
    input: process.stdin,
    note: () => undefined,
  });

test('folders that hold the same ids are refused before anything is sent, with one of them and what to do', async () => {
  await using folder = await temporaryFolder();
  for (const name of ['train/cat/1.png', 'train/cat/2.png', 'train/dog/1.png']) await folder.write(name, 'x');
  for (const name of ['test/cat/1.png', 'test/cat/2.png', 'test/dog/9.png']) await folder.write(name, 'x');
  const [train, other] = [folder.at('train'), folder.at('test')];
  await expect(open(train, other)).rejects.toMatchObject({
    code: 'USAGE',
    message: `2 of the ids in ${other} are also in ${train}, such as cat/1.png: the later images would replace the earlier ones.`,
    hint: expect.stringContaining(`imagehub send pets ${folder.path}.`),
  });
  // The folder above them, either alone, and folders with other names inside.
  expect(await open(folder.path)).toHaveLength(1);
  expect(await open(other)).toHaveLength(1);
  await folder.write('more/bird/1.png', 'x');
  expect(await open(train, folder.at('more'))).toHaveLength(2);
});

test('the same holds for IDX files of one name, and a folder given twice', async () => {
  await using folder = await temporaryFolder();
  const files = ['a', 'b'].map((name) => `${name}/digits-images-idx3-ubyte`);
  for (const file of files) await folder.write(file, idxImages(2, 3, 3));
  await expect(open(...files.map((file) => folder.at(file)))).rejects.toMatchObject({
    message: expect.stringContaining('such as digits-images-idx3-ubyte/0'),
    hint: expect.stringMatching(/^If they are to be replaced, send/),
  });
  await folder.write('c/1.png', 'x');
  await expect(open(folder.at('c'), `${folder.at('c')}/`)).rejects.toMatchObject({ code: 'USAGE' });
});
