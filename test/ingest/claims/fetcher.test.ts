import { execFileSync } from 'node:child_process';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Config, loadConfig } from '../../../config.ts';
import type { Fetched } from '../../../ingest/claims/claim.ts';
import { ImageFetcher } from '../../../ingest/claims/fetcher.ts';
import { createLogger } from '../../../log.ts';
import { createMetrics } from '../../../metrics.ts';
import { Troubles } from '../../../troubles.ts';
import { type ImageHost, startImageHost } from '../../support/image-host.ts';
import { until } from '../../support/pipeline.ts';
import { type TemporaryFolder, temporaryFolder } from '../../support/temporary-folder.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
const NEVER = new AbortController().signal;
const BYTES = Buffer.from('as good as any image');
/** Of the tests: more than any of their images, so that it is exact where one is larger. */
const LIMIT = 1024;

let host: ImageHost;
let folder: TemporaryFolder;
beforeAll(async () => {
  host = await startImageHost();
  folder = await temporaryFolder();
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** A fetcher with patience for one more attempt, which can be had by the second. */
function fetcher(overrides: Partial<Config> = {}) {
  const config = {
    ...loadConfig({}),
    imageUrlHosts: [host.host],
    imageUrlFolders: [folder.at('allowed')],
    imageUrlBytes: LIMIT,
    imageUrlPatienceMs: 300,
    ...overrides,
  };
  const metrics = createMetrics({ processMetrics: false });
  const troubles = new Troubles(log);
  const images = new ImageFetcher({ config, log, metrics, troubles });
  return {
    metrics,
    troubles,
    fetch: (url: string, signal = NEVER, patience = { spent: false }) =>
      images.fetch({ dataset: 'digits', url }, patience, signal),
    async counts() {
      const { values } = await metrics.imageFetches.get();
      return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
    },
  };
}

const fetch = (url: string, overrides: Partial<Config> = {}) => fetcher(overrides).fetch(url);
const refused = (reason: string, detail: RegExp) => ({
  reason,
  detail: expect.stringMatching(detail) as unknown,
});
const file = (name: string) => `file://${folder.at(name)}`;

describe('from a host', () => {
  test('the bytes come as they are, counted', async () => {
    const { fetch, counts, metrics } = fetcher();
    expect(await fetch(host.serve('/a.png', BYTES))).toEqual({ bytes: BYTES });
    expect(await counts()).toEqual({ fetched: 1 });
    expect((await metrics.imageFetchBytes.get()).values[0]!.value).toBe(BYTES.length);
  });

  test('redirects are followed so far, each only to where it is allowed', async () => {
    host.serve('/end', BYTES);
    for (const i of [1, 2, 3, 4]) {
      const to = i === 1 ? '/end' : `/hop${i - 1}`;
      host.answers.set(`/hop${i}`, (response) => response.writeHead(302, { location: to }).end('moved'));
    }
    expect(await fetch(host.url('/hop3'))).toEqual({ bytes: BYTES });
    expect(await fetch(host.url('/hop4'))).toEqual(
      refused('fetch-refused', /3 times.*IMAGEHUB_IMAGE_URL_REDIRECTS/),
    );
    expect(await fetch(host.url('/hop1'), { imageUrlRedirects: 0 })).toMatchObject({
      reason: 'fetch-refused',
    });

    // The same server under a name that is not allowed.
    const other = host.url('/end').replace('127.0.0.1', 'localhost');
    const before = host.asked('/end');
    host.answers.set('/out', (response) => response.writeHead(307, { location: other }).end());
    expect(await fetch(host.url('/out'))).toEqual(
      refused('url-not-allowed', /localhost:\d+ is not among.*IMAGEHUB_IMAGE_URL_HOSTS/),
    );
    expect(host.asked('/end')).toBe(before);
    await folder.write('allowed/a.png', BYTES);
    host.answers.set('/file', (response) =>
      response.writeHead(302, { location: file('allowed/a.png') }).end(),
    );
    expect(await fetch(host.url('/file'))).toEqual(refused('url-not-allowed', /redirect/));
    host.answers.set('/nowhere', (response) => response.writeHead(302).end());
    expect(await fetch(host.url('/nowhere'))).toEqual(refused('fetch-refused', /status 302/));
  });

  test('what has more bytes than allowed is cut off there, announced or not, packed or not', async () => {
    const tooMany = refused('too-many-bytes', /1,024 bytes.*IMAGEHUB_IMAGE_URL_BYTES/);
    expect(await fetch(host.serve('/exact', Buffer.alloc(LIMIT, 1)))).toMatchObject({
      bytes: { length: LIMIT },
    });
    // Announced, and never sent.
    host.answers.set(
      '/large',
      (response) => void response.writeHead(200, { 'content-length': LIMIT + 1 }).write('x'),
    );
    expect(await fetch(host.url('/large'))).toEqual(tooMany);
    let hungUp = false;
    host.answers.set('/endless', (response) => {
      const more = setInterval(() => response.write(Buffer.alloc(500)), 5);
      response.on('close', () => {
        clearInterval(more);
        hungUp = true;
      });
    });
    expect(await fetch(host.url('/endless'))).toEqual(tooMany);
    await until(() => Promise.resolve(hungUp), 'the endless image is hung up on', 30_000, 10);

    const packed = (bytes: Buffer) => (path: string) => {
      host.answers.set(path, (response) =>
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(bytes)),
      );
      return host.url(path);
    };
    expect(await fetch(packed(BYTES)('/packed'))).toEqual({ bytes: BYTES });
    // 20 MiB of zeros are 20 kB, more than the limit; the limit of 64 KiB is passed only by what is in them.
    expect(await fetch(packed(Buffer.alloc(20 << 20))('/bomb'), { imageUrlBytes: 65_536 })).toMatchObject({
      reason: 'too-many-bytes',
    });
  });

  test('what is not there, or not for us, or empty, is refused at once', async () => {
    const { fetch, counts } = fetcher();
    expect(await fetch(host.url('/none'))).toEqual(
      refused('not-found', /\/none is answered with status 404/),
    );
    for (const [status, reason] of [
      [410, 'not-found'],
      [401, 'fetch-refused'],
      [403, 'fetch-refused'],
      [206, 'fetch-refused'],
      [204, 'fetch-refused'],
    ] as const) {
      host.answers.set(`/${status}`, (response) => response.writeHead(status).end());
      expect(await fetch(host.url(`/${status}`))).toMatchObject({ reason });
      expect(host.asked(`/${status}`)).toBe(1);
    }
    // It must not become a deletion.
    expect(await fetch(host.serve('/empty', Buffer.alloc(0)))).toMatchObject({ reason: 'empty-image' });
    expect(await counts()).toEqual({ refused: 7 });
  });

  test.each([500, 503, 429])('status %i is tried again', async (status) => {
    const { fetch, counts, troubles } = fetcher({ imageUrlPatienceMs: 60_000 });
    host.answers.set(`/later-${status}`, (response, time) =>
      time === 1 ? response.writeHead(status).end() : response.end(BYTES),
    );
    const fetching = fetch(host.url(`/later-${status}`));
    await until(() => Promise.resolve(troubles.health().state === 'waiting'), 'it waits', 30_000, 5);
    expect(troubles.health().detail).toContain(`http://${host.host}`);
    expect(await fetching).toEqual({ bytes: BYTES });
    expect(troubles.health().state).toBe('ok');
    expect(await counts()).toEqual({ retry: 1, fetched: 1 });
  });

  test('what goes on failing is given up after a while, and what fails after that is not waited for', async () => {
    const { fetch, counts, troubles } = fetcher();
    host.answers.set('/broken', (response) => response.writeHead(500).end());
    host.answers.set('/cut', (response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('x', () => response.destroy());
    });
    const patience = { spent: false };
    expect(await fetch(host.url('/broken'), NEVER, patience)).toEqual(
      refused('fetch-failed', /could not be fetched: 2 attempts, the last: .*status 500\.$/),
    );
    expect(patience.spent).toBe(true);
    expect(await fetch(host.url('/cut'), NEVER, patience)).toEqual(refused('fetch-failed', /tried once/));
    expect(host.asked('/cut')).toBe(1);
    expect(await counts()).toEqual({ retry: 1, failed: 2 });
    expect(troubles.health().state).toBe('ok');
    // A host that answers is not held to be away for that: the next image is asked for.
    expect(await fetch(host.serve('/fine', BYTES), NEVER, patience)).toEqual({ bytes: BYTES });
  });

  test('one that says nothing, or a byte now and then, is given up when its time is over', async () => {
    const slow = { imageUrlTimeoutMs: 200, imageUrlPatienceMs: 1 };
    host.answers.set('/silent', () => undefined);
    host.answers.set('/drip', (response) => {
      const more = setInterval(() => response.write('x'), 10);
      response.on('close', () => clearInterval(more));
    });
    const tooSlow = refused('fetch-failed', /longer than 0.2 s \(IMAGEHUB_IMAGE_URL_TIMEOUT_MS\)/);
    expect(await fetch(host.url('/silent'), slow)).toEqual(tooSlow);
    expect(await fetch(host.url('/drip'), slow)).toEqual(tooSlow);
  });

  test('a host that is away is noticed as such: its images are given up without asking, others are fetched', async () => {
    await using away = await startImageHost();
    const url = away.serve('/a.png', BYTES);
    await away.goAway();
    const { fetch, counts } = fetcher({ imageUrlHosts: [host.host, away.host], imageUrlPatienceMs: 1 });
    for (let i = 0; i < 3; i++) expect(await fetch(url)).toEqual(refused('fetch-failed', /ECONNREFUSED/));
    await away.listen();
    expect(await fetch(url)).toEqual(refused('fetch-failed', /did not answer for others, and was not asked/));
    expect(away.asked('/a.png')).toBe(0);
    expect(await fetch(host.serve('/b.png', BYTES))).toEqual({ bytes: BYTES });
    // It is asked again after some seconds.
    await until(async () => 'bytes' in (await fetch(url)), 'it is asked again', 60_000, 500);
    expect(await fetch(url)).toEqual({ bytes: BYTES });
    expect(await counts()).toMatchObject({ fetched: 3 });
  });

  test('so many are fetched at a time, and when we are asked to stop nothing more is', async () => {
    const { fetch } = fetcher({ imageUrlFetches: 2 });
    const stop = new AbortController();
    for (const i of [1, 2, 3]) host.answers.set(`/wait${i}`, () => undefined);
    const fetches = [1, 2, 3].map((i) => fetch(host.url(`/wait${i}`), stop.signal));
    await until(
      () => Promise.resolve(host.asked('/wait1') + host.asked('/wait2') === 2),
      'two are asked for',
    );
    stop.abort(new Error('stopped'));
    for (const one of await Promise.allSettled(fetches)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { message: 'stopped' } });
    }
    expect(host.asked('/wait3')).toBe(0);
  });
});

describe('from a folder', () => {
  test('files below it are read, also by links that stay in it', async () => {
    await folder.write('allowed/sub/ä #1.png', BYTES);
    await symlink('sub', folder.at('allowed/link'));
    const path = new URL(file('allowed/link/ä%20%231.png')).href;
    expect(await fetch(path)).toEqual({ bytes: BYTES });
    // The folder itself may be named by a link.
    await symlink('allowed', folder.at('alias'));
    expect(await fetch(path, { imageUrlFolders: [folder.at('alias')] })).toEqual({ bytes: BYTES });
    expect(await fetch(file('alias/sub/ä%20%231.png'))).toEqual({ bytes: BYTES });
  });

  test('nothing else is: by .., by a link, by a name that only begins alike; nor is told what there is', async () => {
    await folder.write('allowed/a.png', BYTES);
    await folder.write('secret.png', BYTES);
    await folder.write('allowed-not/a.png', BYTES);
    await symlink('../secret.png', folder.at('allowed/leak.png'));
    await symlink('..', folder.at('allowed/up'));
    const notAllowed = refused('url-not-allowed', /not in a folder of IMAGEHUB_IMAGE_URL_FOLDERS/);
    for (const name of [
      'secret.png',
      'allowed/../secret.png',
      'allowed/%2e%2e/secret.png',
      'allowed/leak.png',
      'allowed/up/secret.png',
      'allowed-not/a.png',
      'no-such.png',
      'allowed',
    ]) {
      expect([name, await fetch(file(name))]).toEqual([name, notAllowed]);
    }
    expect(await fetch(file('allowed/a.png'), { imageUrlFolders: [] })).toEqual(
      refused('url-not-allowed', /IMAGEHUB_IMAGE_URL_FOLDERS, which names none/),
    );
  });

  test('what is no file with something in it is refused, without waiting for a pipe', async () => {
    await mkdir(folder.at('allowed/folder'), { recursive: true });
    execFileSync('mkfifo', [folder.at('allowed/pipe')]);
    await symlink('/dev/zero', folder.at('allowed/zero'));
    await symlink('circle', folder.at('allowed/circle'));
    await folder.write('allowed/empty', '');
    await folder.write('allowed/large', Buffer.alloc(LIMIT + 1));
    for (const [name, reason] of [
      ['none.png', 'not-found'],
      ['large/none.png', 'not-found'],
      ['folder', 'fetch-refused'],
      ['pipe', 'fetch-refused'],
      ['circle', 'fetch-refused'],
      ['zero', 'url-not-allowed'],
      ['empty', 'empty-image'],
      ['large', 'too-many-bytes'],
    ]) {
      expect([name, await fetch(file(`allowed/${name}`))]).toMatchObject([name, { reason }]);
    }
    // Where devices are allowed, they are no images all the same.
    expect(await fetch('file:///dev/zero', { imageUrlFolders: ['/dev'] })).toMatchObject({
      reason: 'fetch-refused',
    });
  });

  test('a folder that is not there may be a disk that is yet to be mounted: it is waited for', async () => {
    await folder.write('mounted/a.png', BYTES);
    await rename(folder.at('mounted'), folder.at('unmounted'));
    const settings = { imageUrlFolders: [folder.at('allowed'), folder.at('mounted')] };
    await folder.write('allowed/a.png', BYTES);
    expect(await fetch(file('mounted/a.png'), settings)).toEqual(
      refused('fetch-failed', /mounted, a folder of IMAGEHUB_IMAGE_URL_FOLDERS, is not there/),
    );
    expect(await fetch(file('allowed/a.png'), settings)).toEqual({ bytes: BYTES });
    const { fetch: patient, troubles } = fetcher({ ...settings, imageUrlPatienceMs: 60_000 });
    const fetching = patient(file('mounted/a.png'));
    await until(() => Promise.resolve(troubles.health().state === 'waiting'), 'it waits', 30_000, 5);
    await rename(folder.at('unmounted'), folder.at('mounted'));
    expect(await fetching).toEqual({ bytes: BYTES });
  });

  test('a folder that is swapped for a link while it is read from lets nothing else be read', async () => {
    await folder.write('elsewhere/a.png', 'secret');
    await folder.write('allowed/swapped/a.png', BYTES);
    await symlink(folder.at('elsewhere'), folder.at('allowed/swap-link'));
    let swapping = true;
    const swaps = (async () => {
      while (swapping) {
        await rename(folder.at('allowed/swapped'), folder.at('allowed/aside'));
        await rename(folder.at('allowed/swap-link'), folder.at('allowed/swapped'));
        await rename(folder.at('allowed/swapped'), folder.at('allowed/swap-link'));
        await rename(folder.at('allowed/aside'), folder.at('allowed/swapped'));
      }
    })();
    const { fetch } = fetcher({ imageUrlPatienceMs: 1 });
    const seen = new Set<string>();
    const look = (got: Fetched) => seen.add('bytes' in got ? got.bytes.toString() : got.reason);
    for (let i = 0; i < 300; i++) {
      const some = Array.from({ length: 8 }, () => fetch(file('allowed/swapped/a.png')));
      for (const got of await Promise.all(some)) look(got);
    }
    swapping = false;
    await swaps;
    expect(seen).not.toContain('secret');
    await rm(folder.at('allowed/swap-link'));
    await writeFile(folder.at('allowed/swapped/a.png'), BYTES);
    expect(await fetcher().fetch(file('allowed/swapped/a.png'))).toEqual({ bytes: BYTES });
  });
});
