import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import type { Config } from '../../../config.ts';
import { openIngest } from '../../../ingest/open-ingest.ts';
import { retryDeadLetters } from '../../../ingest/retry-dead-letters.ts';
import { createMetrics } from '../../../metrics.ts';
import { listDeadLetters, readDeadLetterMessage } from '../../../sql/dead-letters.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitPng } from '../../support/digits.ts';
import { type ImageHost, startImageHost } from '../../support/image-host.ts';
import { goLive, testPipeline, type TestMessage, type TestPipeline, until } from '../../support/pipeline.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const claim = (key: string | null, url: string, headers: Record<string, string> = {}): TestMessage => ({
  key,
  value: null,
  headers: { 'image-url': url, ...headers },
});
const image = (key: string, digit: number): TestMessage => ({ key, value: digitPng(digit, digit) });
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const letters = ({ pool, dataset }: TestPipeline) => listDeadLetters(pool, { dataset });

async function rows({ pool, dataset }: TestPipeline) {
  const { rows } = await pool.query<{ id: string; sha256: string; size: number; label: number | null }>(
    `select id, encode(sha256, 'hex') as sha256, byte_size as size, known_label as label,
       sha256(decode(image_base64, 'base64')) = sha256 as intact from ${dataset} order by id`,
  );
  return rows;
}

const allowing = ({ host }: ImageHost, folder = '/nowhere'): Partial<Config> => ({
  imageUrlHosts: [host],
  imageUrlFolders: [folder],
  imageUrlPatienceMs: 300,
});

async function retry(pipeline: TestPipeline, settings: Partial<Config>): Promise<string[]> {
  const outcomes: string[] = [];
  await using context = await openIngest({
    config: { ...pipeline.config, ...settings },
    postgres: pipeline.postgres,
    log: pipeline.log,
    metrics: createMetrics({ processMetrics: false }),
    signal: new AbortController().signal,
  });
  await retryDeadLetters(context, { dataset: pipeline.dataset }, (_, outcome) => outcomes.push(outcome));
  return outcomes;
}

describe('messages that name their image', () => {
  test('are rows as if they had carried it, or dead letters that can be tried again; neighbours are neither', async () => {
    await using pipeline = await testPipeline();
    await using host = await startImageHost();
    await using folder = await temporaryFolder();
    const settings = { ...allowing(host, folder.path), imageUrlBytes: 50_000 };
    const file = pathToFileURL(await folder.write('photos/ä b.png', digitPng(3, 30))).href;
    await pipeline.produce([image('deleted', 1), image('kept', 2)]);
    const messages: [TestMessage, reason?: string][] = [
      [image('a', 0)],
      [claim('by-url', host.serve('/7.png', digitPng(7, 70)), { 'known-label': '7' })],
      [{ key: 'deleted', value: null }],
      [claim('by-file', file)],
      [claim(null, host.url('/7.png'))],
      [image('b', 1)],
      [claim('gone', host.url('/none.png')), 'not-found'],
      [claim('elsewhere', 'file:///etc/hostname'), 'url-not-allowed'],
      [claim('large', host.serve('/large', Buffer.alloc(50_001, 1))), 'too-many-bytes'],
      [claim('text', host.serve('/text', Buffer.from('no image'))), 'not-an-image'],
      // A header that says nothing keeps an empty message from deleting, too: it was meant to name an image.
      [claim('kept', ''), 'url-malformed'],
      [{ ...claim('x'.repeat(500), host.url('/never')), value: Buffer.alloc(0) }, 'id-too-long'],
      [{ ...image('carried', 4), headers: { 'image-url': host.url('/never?key=geheim') } }],
      [image('c', 2)],
    ];
    await pipeline.produce(messages.map(([message]) => message));
    const ingest = await pipeline.startIngest(settings);
    await pipeline.drained();

    const found = await rows(pipeline);
    const expected: Record<string, Buffer> = {
      a: digitPng(0, 0),
      b: digitPng(1, 1),
      'by-file': digitPng(3, 30),
      'by-url': digitPng(7, 70),
      c: digitPng(2, 2),
      carried: digitPng(4, 4),
      kept: digitPng(2, 2),
      [`${pipeline.topic}/0/6`]: digitPng(7, 70),
    };
    expect(Object.fromEntries(found.map((row) => [row.id, row.sha256]))).toEqual(
      Object.fromEntries(Object.entries(expected).map(([id, bytes]) => [id, sha256(bytes)])),
    );
    expect(found.find(({ id }) => id === 'by-url')).toMatchObject({
      label: 7,
      size: digitPng(7, 70).length,
      intact: true,
    });
    const dead = messages.flatMap(([, reason], i) => (reason ? [{ offset: i + 2, reason }] : []));
    expect((await letters(pipeline)).map(({ offset, reason }) => ({ offset, reason }))).toEqual(dead);
    const [gone, elsewhere] = await letters(pipeline);
    expect(gone).toMatchObject({
      stage: 'fetch',
      bytes: null,
      detail: expect.stringContaining('/none.png') as unknown,
    });
    expect(elsewhere!.detail).toContain('IMAGEHUB_IMAGE_URL_FOLDERS');
    expect((await readDeadLetterMessage(pipeline.pool, gone!.deadLetterNo))!.headers).toEqual([
      ['image-url', Buffer.from(host.url('/none.png'))],
    ]);
    expect(host.asked('/never') + host.asked('/never?key=geheim')).toBe(0);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, complete: true });
    for (const line of [
      'imagehub_image_fetches_total{dataset="digits",outcome="fetched"} 4',
      'imagehub_image_fetches_total{dataset="digits",outcome="refused"} 4',
      'imagehub_bad_headers_total{dataset="digits",header="image-url"} 1',
      'imagehub_dead_letters_total{dataset="digits",stage="fetch",reason="not-found"} 1',
    ]) {
      // What a batch did is counted just after its commit.
      const shows = async () => (await ingest.metrics.registry.metrics()).split('\n').includes(line);
      await until(shows, `the metrics say ${line}`);
    }
    await ingest.stop();

    // What was in the way is put right, for two of them; one was replaced by a newer message meanwhile.
    host.serve('/none.png', digitPng(5, 50));
    host.serve('/text', digitPng(6, 60));
    await pipeline.produce([image('text', 8)]);
    await pipeline.startIngest({ imageUrlHosts: [] });
    await pipeline.drained();
    const outcomes = await retry(pipeline, settings);
    expect(outcomes).toEqual(['inserted', 'dead', 'dead', 'superseded', 'dead', 'dead']);
    const after = new Map((await rows(pipeline)).map((row) => [row.id, row.sha256]));
    expect(after.get('gone')).toBe(sha256(digitPng(5, 50)));
    expect(after.get('text')).toBe(sha256(digitPng(8, 8)));
    expect((await letters(pipeline)).every(({ attempts }) => attempts === 2)).toBe(true);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, complete: true, deadLetters: 4 });
  });

  test('are not fetched again once they are taken: not by a replay, nor when the model changes before the commit', async () => {
    await using pipeline = await testPipeline();
    await using host = await startImageHost();
    await using folder = await temporaryFolder();
    const settings = allowing(host, folder.path);
    const path = await folder.write('a.png', digitPng(3, 30));
    await goLive(pipeline.pool, pipeline.dataset, constantModel(1));
    await pipeline.produce([
      claim('file', pathToFileURL(path).href),
      claim('url', host.serve('/a', digitPng(4, 40))),
    ]);
    const first = await pipeline.startIngest(settings);
    await pipeline.drained();
    // It commits between two batches: the ingest still holds the old model in memory, and makes the rows again.
    const second = await goLive(pipeline.pool, pipeline.dataset, constantModel(8));
    await pipeline.produce([claim('later', host.serve('/b', digitPng(5, 50)))]);
    await pipeline.drained();
    const { rows: later } = await pipeline.pool.query(
      `select prediction, model_id from ${pipeline.dataset} where id = 'later'`,
    );
    expect(later).toEqual([{ prediction: 8, model_id: second }]);
    expect([host.asked('/a'), host.asked('/b')]).toEqual([1, 1]);
    await first.stop();

    // A group without offsets reads everything again; what is named is gone, or another image.
    await rm(path);
    host.serve('/a', digitPng(9, 90));
    host.answers.delete('/b');
    const before = await rows(pipeline);
    await pipeline.startIngest({ ...settings, group: `${pipeline.config.group}-again` });
    await pipeline.produce([image('new', 1)]);
    await pipeline.drained();
    expect((await rows(pipeline)).filter(({ id }) => id !== 'new')).toEqual(before);
    expect([host.asked('/a'), host.asked('/b')]).toEqual([1, 1]);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 4, deadLetters: 0 });
  });

  test('hold up what came before them no longer than a moment, and are waited for', async () => {
    await using pipeline = await testPipeline();
    await using host = await startImageHost();
    let release = (): void => undefined;
    host.answers.set('/slow', (response) => (release = () => response.end(digitPng(7, 70))));
    await pipeline.produce([
      image('a', 0),
      claim('b', host.serve('/quick', digitPng(1, 10))),
      claim('slow', host.url('/slow')),
      image('z', 9),
    ]);
    await pipeline.startIngest({ ...allowing(host), imageUrlTimeoutMs: 300_000 });
    await until(async () => (await rows(pipeline)).length === 2, 'what came before it is there');
    expect((await rows(pipeline)).map(({ id }) => id)).toEqual(['a', 'b']);
    release();
    await pipeline.drained();
    expect((await rows(pipeline)).map(({ id }) => id)).toEqual(['a', 'b', 'slow', 'z']);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, deadLetters: 0 });
  });

  test('whose host is away wait for it so long, and are dead letters then, which its return lets in', async () => {
    await using pipeline = await testPipeline();
    await using host = await startImageHost();
    const urls = Array.from({ length: 20 }, (_, i) => host.serve(`/${i}`, digitPng(i % 10, i)));
    await host.goAway();
    await pipeline.produce([
      image('first', 1),
      ...urls.map((url, i) => claim(`${i}`, url)),
      image('last', 2),
      claim('last', 'http://127.0.0.1:1/'),
    ]);
    const settings = { ...allowing(host), imageUrlHosts: [host.host, '127.0.0.1:1'] };
    const ingest = await pipeline.startIngest(settings);
    await pipeline.drained();
    expect((await rows(pipeline)).map(({ id }) => id)).toEqual(['first', 'last']);
    const dead = await letters(pipeline);
    expect(dead).toHaveLength(21);
    expect(new Set(dead.map(({ reason }) => reason))).toEqual(new Set(['fetch-failed']));
    expect(ingest.health().state).toBe('ok');
    // Broken in another way: answered, and tried no more than once each after the first.
    await host.listen();
    for (let i = 0; i < 20; i++) host.answers.set(`/${i}`, (response) => response.writeHead(500).end());
    expect(new Set(await retry(pipeline, settings))).toEqual(new Set(['dead']));
    expect(host.asked('/0')).toBeGreaterThan(1);
    for (let i = 1; i < 20; i++) expect(host.asked(`/${i}`)).toBe(1);
    for (let i = 0; i < 20; i++) host.serve(`/${i}`, digitPng(i % 10, i));
    expect(await retry(pipeline, settings)).toEqual([...urls.map(() => 'inserted'), 'dead']);
    expect(await pipeline.reconcile()).toMatchObject({
      consistent: true,
      complete: true,
      rows: 22,
      deadLetters: 1,
    });
  });

  test('count in a transaction with the bytes that were fetched, also one by one and where the database refuses some', async () => {
    await using pipeline = await testPipeline();
    await using host = await startImageHost();
    const url = (digit: number) => host.serve(`/${digit}`, digitPng(digit, 10 * digit));
    await pipeline.pool.query(
      `alter table ${pipeline.dataset} add constraint no_seven check (known_label <> 7)`,
    );
    await pipeline.produce([image('first', 1)]);
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    // As a process left it that was killed over the next two messages.
    await pipeline.pool.query('update imagehub.consumer_offsets set in_flight_to = 3');
    await pipeline.produce([
      ...[1, 2, 3, 4, 5].map((digit) => claim(`${digit}`, url(digit))),
      claim('6', url(6), { 'known-label': '6' }),
      claim('6', url(7), { 'known-label': '7' }),
      claim('6', url(8), { 'known-label': '8' }),
      claim('8', host.url('/7'), { 'known-label': '7' }),
    ]);
    const batchBytes = 2 * Math.max(...[3, 4, 5].map((digit) => digitPng(digit, 10 * digit).length));
    const ingest = await pipeline.startIngest({ ...allowing(host), batchBytes: Math.max(1024, batchBytes) });
    await pipeline.drained();
    const found = new Map((await rows(pipeline)).map((row) => [row.id, row.sha256]));
    for (const digit of [1, 2, 3, 4, 5])
      expect(found.get(`${digit}`)).toBe(sha256(digitPng(digit, 10 * digit)));
    expect(found.get('6')).toBe(sha256(digitPng(8, 80)));
    expect(await letters(pipeline)).toMatchObject([{ offset: 7 }, { offset: 9 }]);
    expect(host.asked('/8')).toBe(1);
    const batches = async () => {
      const { values } = await ingest.metrics.batchMessages.get();
      return values.find(({ metricName }) => metricName?.endsWith('_count'))?.value ?? 0;
    };
    await until(async () => (await batches()) > 2, 'several transactions are counted');
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, complete: true });
  });
});
