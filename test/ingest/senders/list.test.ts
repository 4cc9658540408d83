import { expect, test } from '@jest/globals';
import { Readable } from 'node:stream';
import { openList } from '../../../ingest/senders/list.ts';
import { collect, NEVER, recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const list = (paths: string[]) => Readable.from([paths.join('\n')]);

test('paths on an input stream become images with the path as id; a missing file is refused, the others are sent', async () => {
  await using folder = await temporaryFolder();
  const [a, b] = [await folder.write('a.png', 'A'), await folder.write('b.png', 'B')];
  const omissions = recordOmissions();
  const source = openList(list([a, '', folder.at('nope.png'), b]), omissions);
  const images = await collect(source.images(undefined, NEVER));
  expect(images.map(({ id, bytes }) => [id, bytes.toString()])).toEqual([
    [a, 'A'],
    [b, 'B'],
  ]);
  expect(omissions.refused).toEqual([`${folder.at('nope.png')}: cannot be read: no such file`]);
});

test('the same list goes on behind what was sent; a list that begins differently is sent whole', async () => {
  await using folder = await temporaryFolder();
  const paths: string[] = [];
  for (let i = 0; i < 40; i++) paths.push(await folder.write(`${i}.png`, 'x'));
  const ids = async (input: string[], position?: string) => {
    const resume = position === undefined ? undefined : { position, startedAt: 0 };
    return collect(openList(list(input), recordOmissions()).images(resume, NEVER));
  };
  const { position } = (await ids(paths))[24]!;
  expect((await ids(paths, position)).map(({ id }) => id)).toEqual(paths.slice(25));
  const other = [...paths.slice(1), paths[0]!];
  expect((await ids(other, position)).map(({ id }) => id)).toEqual(other);
  expect((await ids(paths.slice(0, 10), position)).map(({ id }) => id)).toEqual(paths.slice(0, 10));
});
