import { describe, expect, test } from '@jest/globals';
import type { Queryable } from '../../sql/database.ts';
import { createDataset } from '../../sql/datasets.ts';
import {
  type DeadLetter,
  insertDeadLetters,
  listDeadLetters,
  readDeadLetterMessage,
} from '../../sql/dead-letters.ts';
import { digitPng } from '../support/digits.ts';
import { freshDatabase } from '../support/servers.ts';
import {
  type RunningIngest,
  testPipeline,
  type TestMessage,
  type TestPipeline,
  until,
} from '../support/pipeline.ts';

const letters = (pipeline: TestPipeline) => listDeadLetters(pipeline.pool, { dataset: pipeline.dataset });

/** Waits for a line of the metrics: what a batch did is counted just after its commit. */
const shows = ({ metrics }: RunningIngest, line: string) =>
  until(async () => (await metrics.registry.metrics()).split('\n').includes(line), `the metrics say ${line}`);

/** A PNG header that promises 50,000 × 50,000 pixels, with hardly any data behind it. */
function pngBomb(): Buffer {
  const bomb = Buffer.from(digitPng(1, 1));
  bomb.writeUInt32BE(50_000, 16);
  bomb.writeUInt32BE(50_000, 20);
  return bomb;
}

describe('bad messages', () => {
  test('become dead letters with their bytes and a reason, and cost their neighbours nothing', async () => {
    await using pipeline = await testPipeline();
    const good = (id: string): TestMessage => ({ key: id, value: digitPng(3, 3) });
    const bad: Record<string, { message: TestMessage; stage: string; reason: string; detail: RegExp }> = {
      text: {
        message: { key: 'text', value: Buffer.from('hello, I am no image') },
        stage: 'decode',
        reason: 'not-an-image',
        detail: /not an image/i,
      },
      truncated: {
        message: { key: 'truncated', value: digitPng(4, 4).subarray(0, 120) },
        stage: 'decode',
        reason: 'truncated',
        detail: /truncated|cut short|damaged|end/i,
      },
      bomb: {
        message: { key: 'bomb', value: pngBomb() },
        stage: 'decode',
        reason: 'too-large',
        detail: /50,?000.*IMAGEHUB_MAX_PIXELS/s,
      },
      long: {
        message: { key: 'x'.repeat(10_000), value: digitPng(3, 3) },
        stage: 'message',
        reason: 'id-too-long',
        detail: /10000 bytes.*400/,
      },
      latin: {
        message: { key: Buffer.from([0xe4, 0xf6, 0xfc]), value: digitPng(3, 3) },
        stage: 'message',
        reason: 'id-not-utf8',
        detail: /UTF-8/,
      },
      nul: {
        message: { key: 'a\0b', value: digitPng(3, 3) },
        stage: 'message',
        reason: 'id-with-nul',
        detail: /NUL/,
      },
      nothing: {
        message: { key: null, value: null },
        stage: 'message',
        reason: 'delete-without-key',
        detail: /no key/,
      },
    };
    const messages = [
      good('first'),
      ...Object.values(bad).flatMap(({ message }, i) => [message, good(`good-${i}`)]),
    ];
    await pipeline.produce(messages);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();

    const { rows } = await pipeline.pool.query<{ id: string }>(
      `select id from ${pipeline.dataset} order by id`,
    );
    expect(rows.map(({ id }) => id)).toEqual(['first', ...Object.keys(bad).map((_, i) => `good-${i}`)]);
    const found = await letters(pipeline);
    expect(found).toHaveLength(Object.keys(bad).length);
    for (const { message, stage, reason, detail } of Object.values(bad)) {
      const offset = messages.indexOf(message);
      const letter = found.find((candidate) => candidate.offset === offset)!;
      expect(letter).toMatchObject({ stage, reason, attempts: 1 });
      expect(letter.detail).toMatch(detail);
      const kept = await readDeadLetterMessage(pipeline.pool, letter.deadLetterNo);
      expect(kept!.value).toEqual(message.value);
      expect(kept!.key?.toString('latin1') ?? null).toBe(
        message.key === null ? null : Buffer.from(message.key).toString('latin1'),
      );
    }
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, deadLetters: found.length });
    for (const { stage, reason } of Object.values(bad)) {
      await shows(
        ingest,
        `imagehub_dead_letters_total{dataset="digits",stage="${stage}",reason="${reason}"} 1`,
      );
    }
  });

  test('an image without a key is named after its place in the topic, and gets no label from that', async () => {
    await using pipeline = await testPipeline({ labelFrom: 'first-character' });
    await pipeline.produce([{ key: null, value: digitPng(5, 5) }]);
    await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pipeline.pool.query(`select id, known_label from ${pipeline.dataset}`);
    expect(rows).toEqual([{ id: `${pipeline.topic}/0/0`, known_label: null }]);
  });

  test('unknown labels and senseless headers are left out and counted; the image stays', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce([
      {
        key: 'a.png',
        value: digitPng(5, 5),
        headers: {
          'known-label': 'walrus',
          'captured-at': 'yesterday',
          latitude: '91',
          longitude: '8.5',
          camera: 'X100',
        },
      },
      {
        key: 'b.png',
        value: digitPng(5, 5),
        headers: {
          'known-label': '5',
          'captured-at': '2026-11-21T14:30:00+01:00',
          latitude: '47.37',
          longitude: '8.54',
        },
      },
    ]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pipeline.pool.query(
      `select id, known_label, captured_at, latitude, longitude, camera from ${pipeline.dataset} order by id`,
    );
    expect(rows).toEqual([
      { id: 'a.png', known_label: null, captured_at: null, latitude: null, longitude: null, camera: 'X100' },
      {
        id: 'b.png',
        known_label: 5,
        captured_at: new Date('2026-11-21T13:30:00Z'),
        latitude: 47.37,
        longitude: 8.54,
        camera: null,
      },
    ]);
    expect((await pipeline.reconcile()).messages.unknownLabels).toBe(1);
    for (const header of ['captured-at', 'latitude']) {
      await shows(ingest, `imagehub_bad_headers_total{dataset="digits",header="${header}"} 1`);
    }
  });

  test('rows that the database refuses are found among their neighbours and become dead letters', async () => {
    await using pipeline = await testPipeline();
    await pipeline.pool.query(
      `alter table ${pipeline.dataset} add constraint no_thirteen check (id not like '13-%')`,
    );
    await pipeline.produce(
      Array.from({ length: 40 }, (_, i) => ({ key: `${i}-x.png`, value: digitPng(1, i) })),
    );
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await letters(pipeline)).toMatchObject([
      { key: '13-x.png', stage: 'write', reason: 'refused-by-database' },
    ]);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 39, deadLetters: 1 });
  });

  test('what the database refuses supersedes nothing: of an image the newest message that it takes is the row', async () => {
    await using pipeline = await testPipeline();
    const { pool, dataset } = pipeline;
    const labelled = (key: string, label: number): TestMessage => ({
      key,
      value: digitPng(label, label),
      headers: { 'known-label': String(label) },
    });
    const removed = (key: string): TestMessage => ({ key, value: null });
    await pipeline.produce([labelled('deleted', 1)]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await ingest.stop();
    await pool.query(`alter table ${dataset} add constraint no_seven check (known_label <> 7)`);
    const refused = [1, 2, 3, 7, 8].map((offset) => offset + 1);
    await pipeline.produce([
      labelled('kept', 4),
      labelled('kept', 7),
      labelled('never', 7),
      labelled('never', 7),
      labelled('other', 5),
      labelled('other', 6),
      removed('deleted'),
      labelled('deleted', 7),
      labelled('kept', 7),
    ]);
    await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pool.query(`select id, known_label from ${dataset} order by id`);
    expect(rows).toEqual([
      { id: 'kept', known_label: 4 },
      { id: 'other', known_label: 6 },
    ]);
    expect((await letters(pipeline)).map(({ offset }) => offset)).toEqual(refused);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, complete: true });
  });

  test('2,000 of them are kept with one statement, each with its own bytes, key and headers', async () => {
    await using database = await freshDatabase();
    const { pool } = database;
    await createDataset(pool, { name: 'digits', classes: ['0'] });
    let statements = 0;
    const counting: Queryable = {
      query: (text, values) => {
        statements++;
        return pool.query(text, values);
      },
    };
    const all = Array.from({ length: 2000 }, (_, i): DeadLetter => ({
      message: {
        offset: i,
        timestamp: 1000 + i,
        key: i % 2 === 0 ? null : Buffer.from([0xff, i % 256]),
        value: i % 3 === 0 ? null : Buffer.from(`\\x00"{},${i}`),
        headers: i % 4 === 0 ? [] : [['a"\\b', Buffer.from([0, i % 256])]],
      },
      stage: 'decode',
      reason: 'damaged',
      detail: `with \0, \ud800 and "quotes" {${i}}`,
    }));
    await insertDeadLetters(counting, { dataset: 'digits', topic: 't', partition: 0, epoch: 0 }, all);
    expect(statements).toBe(1);
    const stored = await listDeadLetters(pool, { dataset: 'digits' }, { limit: 3000 });
    expect(stored).toHaveLength(2000);
    for (const i of [0, 1, 2, 3, 11, 1999]) {
      expect(await readDeadLetterMessage(pool, stored[i]!.deadLetterNo)).toEqual(all[i]!.message);
      expect(stored[i]!.detail).toBe(`with ␀, \ufffd and "quotes" {${i}}`);
    }
  });

  test('headers called like what every JavaScript object has do not stop the partition', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce([
      {
        key: 'a.png',
        value: digitPng(5, 5),
        headers: { constructor: 'x', toString: 'y', hasOwnProperty: 'z', 'known-label': '5' },
      },
      { key: 'b.png', value: digitPng(6, 6), headers: { ['__proto__']: 'x' } },
    ]);
    await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pipeline.pool.query(`select id, known_label from ${pipeline.dataset} order by id`);
    expect(rows).toEqual([
      { id: 'a.png', known_label: 5 },
      { id: 'b.png', known_label: null },
    ]);
  });

  test('times far outside every calendar do not stop the partition', async () => {
    await using pipeline = await testPipeline();
    const timed = (key: string, timestamp: string) => ({ key, value: digitPng(5, 5), timestamp });
    await pipeline.produce([
      timed('a.png', '1'),
      timed('b.png', '-300000000000000'),
      { ...timed('c', '-300000000000000'), value: Buffer.from('no image') },
    ]);
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 2, deadLetters: 1 });
  });
});
