import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { mulberry32 } from '../../../classifier/train/random.ts';
import { errorCode, type PoolClient, withClient } from '../../../sql/database.ts';
import { applyHub } from '../../support/apply-hub.ts';
import { digitPng } from '../../support/digits.ts';
import { startImagehub } from '../../support/imagehub.ts';
import { waitFor } from '../../support/processes.ts';

const IMAGES = 12_000;

test('kill -9 of a worker in the middle of a reclassification: another goes on, and every image has its prediction', async () => {
  await using hub = await applyHub(IMAGES);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await hub.reclassify();
  await hub.goLive(second);
  const env = { IMAGEHUB_POSTGRES_URL: hub.url, IMAGEHUB_KAFKA_BROKERS: '', IMAGEHUB_OPERATIONS_PORT: '0' };
  const started = await startImagehub(['reclassify', 'digits', '--throttle', '2000', '--detach', '--json'], {
    env,
  }).ended;
  expect(started).toMatchObject({ status: 0 });
  const { job, state, parts } = JSON.parse(started.stdout) as { job: number; state: string; parts: number };
  expect({ state, parts }).toEqual({ state: 'waiting', parts: 6 });
  const victim = startImagehub(['run', 'worker'], { env });
  const progress = async () =>
    (
      await hub.pool.query<{ done: number; running: number }>(
        `select count(*) filter (where state = 'done') as done, count(*) filter (where state = 'running') as running
           from imagehub.job_parts where job = $1`,
        [job],
      )
    ).rows[0]!;
  await waitFor('one part is done and another runs', async () => {
    const { done, running } = await progress();
    return done >= 1 && running >= 1;
  });
  victim.kill();
  await victim.ended;
  expect((await progress()).done).toBeLessThan(6);
  const other = startImagehub(['run', 'worker'], { env });
  const watched = await startImagehub(['job', 'watch', String(job), '--json'], { env }).ended;
  other.interrupt();
  expect((await other.ended).status).toBe(0);
  expect(JSON.parse(watched.stdout)).toMatchObject({
    state: 'done',
    unitsDone: IMAGES,
    counts: { images: IMAGES, written: IMAGES, superseded: IMAGES },
  });
  expect(await hub.wrong(2)).toEqual([]);
  expect(
    (await hub.pool.query('select from imagehub.predictions where model_id = $1', [first])).rowCount,
  ).toBe(IMAGES);
});

test('two reclassifications at once, beside people who relabel and put other images in: every prediction is about the bytes that are there, every label is the person’s', async () => {
  await using hub = await applyHub(IMAGES);
  await hub.goLive(await hub.model(1));
  await hub.reclassify();
  await hub.goLive(await hub.model(2));
  const random = mulberry32(7);
  const some = () => `d/${Math.floor(random() * IMAGES)}`;
  const labels = new Map<string, number>();
  let over = false;
  /** Again and again, also where a deadlock ends the transaction: the ids come in any order. */
  const disturb = (change: (client: PoolClient) => Promise<() => void>) =>
    withClient(hub.pool, async (client) => {
      for (; !over; await sleep(2)) {
        await client.query('begin');
        try {
          const committed = await change(client);
          await client.query('commit');
          committed();
        } catch (error) {
          if (errorCode(error) !== '40P01') throw error;
          await client.query('rollback');
        }
      }
    });
  const relabel = disturb(async (client) => {
    const mine = Array.from({ length: 20 }, () => [some(), Math.floor(random() * 10)] as const);
    for (const [id, label] of mine)
      await client.query('update digits set known_label = $2 where id = $1', [id, label]);
    return () => mine.forEach(([id, label]) => labels.set(id, label));
  });
  let replaced = 0;
  const replace = disturb(async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    for (let n = 0; n < 20; n++) {
      const png = digitPng(Math.floor(random() * 10), Math.floor(random() * 900));
      await client.query(
        `update digits set image_base64 = $2, sha256 = sha256($3), prediction = -1, model_id = null, promotion_no = null where id = $1`,
        [some(), png.toString('base64'), png],
      );
    }
    return () => (replaced += 20);
  });
  const jobs = await Promise.all([hub.reclassify(), hub.reclassify()]);
  over = true;
  await Promise.all([relabel, replace]);
  for (const job of jobs) expect(job).toMatchObject({ state: 'done', units: IMAGES });
  expect(replaced).toBeGreaterThan(100);
  // What was replaced after its part was read is not classified yet; everything else is right.
  expect(await hub.wrong(2, 'select id, image_base64, prediction from digits where prediction >= 0')).toEqual(
    [],
  );
  expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({ state: 'done' });
  expect(await hub.wrong(2)).toEqual([]);
  const { rows } = await hub.pool.query<{ id: string; known_label: number }>(
    'select id, known_label from digits',
  );
  const stored = new Map(rows.map((row) => [row.id, row.known_label]));
  expect(labels.size).toBeGreaterThan(100);
  for (const [id, label] of labels) expect(stored.get(id)).toBe(label);
});
