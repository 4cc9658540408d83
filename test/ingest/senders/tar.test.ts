import { describe, expect, test } from '@jest/globals';
import { buffer } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { openTar } from '../../../ingest/senders/tar.ts';
import type { SourceImage } from '../../../ingest/senders/image.ts';
import { collect, NEVER, recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

type Entry = [name: string, content: string | Buffer, header?: object];

async function tar(entries: Entry[]): Promise<Buffer> {
  const packing = pack();
  for (const [name, content, header] of entries) packing.entry({ name, ...header }, content as Buffer);
  packing.finalize();
  return buffer(packing as unknown as Readable);
}

describe.each(['plain', 'gzip'])('a %s tar', (kind) => {
  const pack = (bytes: Buffer) => (kind === 'gzip' ? gzipSync(bytes) : bytes);

  test('gives its images in its order, and says how much of it was read', async () => {
    await using folder = await temporaryFolder();
    const long = `${'x'.repeat(120)}/${'ü'.repeat(60)}.png`;
    const names = ['./b/1.png', 'a/2.jpg', long];
    const entries = names.map((name): Entry => [name, name]);
    const path = await folder.write(
      't.tar',
      pack(await tar([['b/', '', { type: 'directory' }], ...entries])),
    );
    const source = await openTar(path, recordOmissions());
    const images = await collect(source.images(undefined, NEVER));
    expect(images.map(({ id }) => id)).toEqual(['b/1.png', 'a/2.jpg', long]);
    expect(images.map(({ bytes }) => bytes.toString())).toEqual(names);
    expect(source.fraction!()).toBe(1);
  });

  test('entries that lead out of it are refused by name, and the others are sent', async () => {
    await using folder = await temporaryFolder();
    const omissions = recordOmissions();
    const bytes = await tar([
      ['1.png', 'x'],
      ['../2.png', 'x'],
      ['a/../../3.png', 'x'],
      ['/etc/4.png', 'x'],
      ['C:\\5.png', 'x'],
      ['..\\6.png', 'x'],
      ['a..b/7.png', 'x'],
      ['read.me', 'x'],
      ['link.png', '', { type: 'symlink', linkname: '/etc/passwd' }],
      ['8.png', ''],
      ['9.png', 'x'],
    ]);
    const source = await openTar(await folder.write('t.tar', pack(bytes)), omissions);
    const images = await collect(source.images(undefined, NEVER));
    expect(images.map(({ id }) => id)).toEqual(['1.png', 'a..b/7.png', '9.png']);
    expect(omissions.refused).toEqual([
      '../2.png: entry that leads out of the archive (../)',
      'a/../../3.png: entry that leads out of the archive (../)',
      '/etc/4.png: entry with an absolute path',
      'C:\\5.png: entry with an absolute path',
      '..\\6.png: entry that leads out of the archive (../)',
      '8.png: empty file (an empty message would delete the image)',
    ]);
    expect(omissions.skipped).toEqual(['read.me: not an image by its extension', 'link.png: not a file']);
  });

  test('going on starts behind the last image sent', async () => {
    await using folder = await temporaryFolder();
    const bytes = await tar(
      Array.from({ length: 20 }, (_, i): Entry => [`${i}.${i % 3 ? 'png' : 'txt'}`, 'x']),
    );
    const source = await openTar(await folder.write('t.tar', pack(bytes)), recordOmissions());
    const all = await collect(source.images(undefined, NEVER));
    const rest = await collect(source.images({ position: all[6]!.position, startedAt: 0 }, NEVER));
    expect(rest).toEqual(all.slice(7));
  });
});

test('a name that is not UTF-8 is refused', async () => {
  await using folder = await temporaryFolder();
  const bytes = await tar([
    ['cafe.png', 'x'],
    ['b.png', 'x'],
  ]);
  bytes[3] = 0xe9;
  // The header's checksum is the sum of its bytes; e → é changes it by 0xe9 − 0x65.
  const sum = Number.parseInt(bytes.toString('latin1', 148, 154), 8) + 0xe9 - 0x65;
  bytes.write(sum.toString(8).padStart(6, '0'), 148, 'latin1');
  const omissions = recordOmissions();
  const source = await openTar(await folder.write('t.tar', bytes), omissions);
  expect((await collect(source.images(undefined, NEVER))).map(({ id }) => id)).toEqual(['b.png']);
  expect(omissions.refused).toEqual(['café.png: entry name that is not UTF-8']);
});

test('a plain tar cut short is refused before anything is sent', async () => {
  await using folder = await temporaryFolder();
  const bytes = await tar([
    ['1.png', Buffer.alloc(700, 1)],
    ['2.png', Buffer.alloc(700, 1)],
  ]);
  for (const length of [0, 100, 512 + 1024, 512 + 1024 + 700, bytes.length - 600]) {
    const path = await folder.write('t.tar', bytes.subarray(0, length));
    await expect(openTar(path, recordOmissions())).rejects.toMatchObject({ code: 'BAD_FILE' });
  }
});

test.each<[string, (bytes: Buffer) => Buffer]>([
  ['a compressed tar cut short', (bytes) => gzipSync(bytes).subarray(0, -100)],
  ['a damaged header', (bytes) => (bytes.fill(0xff, 3 * 1536 + 100, 3 * 1536 + 200), bytes)],
])('%s: what comes before the damage is sent, then the error says so', async (_what, damage) => {
  await using folder = await temporaryFolder();
  // Random content does not compress, so the cut lies near the end of it.
  const content = () => Buffer.from(Array.from({ length: 1024 }, () => Math.floor(Math.random() * 256)));
  const bytes = await tar(['1', '2', '3', '4', '5'].map((name): Entry => [`${name}.png`, content()]));
  const source = await openTar(await folder.write('t.tar', damage(bytes)), recordOmissions());
  const images: SourceImage[] = [];
  const reading = (async () => {
    for await (const image of source.images(undefined, NEVER)) images.push(image);
  })();
  await expect(reading).rejects.toMatchObject({
    code: 'BAD_FILE',
    message: expect.stringContaining('damaged or cut short'),
  });
  expect(images.slice(0, 3).map(({ id }) => id)).toEqual(['1.png', '2.png', '3.png']);
});
