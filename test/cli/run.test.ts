import { createServer } from 'node:net';
import { once } from 'node:events';
import { expect, test } from '@jest/globals';
import { loadConfig } from '../../config.ts';
import { openKafkaAdmin } from '../../ingest/kafka.ts';
import { createLogger } from '../../log.ts';
import { createDataset } from '../../sql/datasets.ts';
import { freePort } from '../../stack/ports.ts';
import { digitPng } from '../support/digits.ts';
import { imagehub, type RunningCommand, startImagehub } from '../support/imagehub.ts';
import { ownKafka } from '../support/own-server.ts';
import { TEN, testPipeline, until } from '../support/pipeline.ts';
import { freshDatabase, uniqueName } from '../support/servers.ts';

interface HealthAnswer {
  state: string;
  parts: Record<string, { state: string; detail?: string }>;
}

/** `imagehub run ingest` with the address of its /healthz; `await using` ends it. */
async function running(env: NodeJS.ProcessEnv) {
  const command: RunningCommand = startImagehub(['run', 'ingest'], {
    env: { IMAGEHUB_OPERATIONS_PORT: '0', IMAGEHUB_WORKERS: '1', IMAGEHUB_KAFKA_SESSION_MS: '6000', ...env },
  });
  await command.says('imagehub runs');
  const url = /"metrics":"(http:[^"]+)\/metrics"/.exec(command.stderr())![1]!;
  const health = async () => (await (await fetch(`${url}/healthz`)).json()) as HealthAnswer;
  return {
    ...command,
    url,
    health,
    ready: async () => {
      const answer = await fetch(`${url}/readyz`);
      return { status: answer.status, ...((await answer.json()) as Partial<HealthAnswer>) };
    },
    metrics: async () => (await fetch(`${url}/metrics`)).text(),
    /** Waits until the ingest says that it waits, for that reason. */
    waitsFor: (reason: RegExp) =>
      until(async () => {
        const { state, parts } = await health();
        return state === 'waiting' && reason.test(parts.ingest?.detail ?? '');
      }, `it waits for ${reason}`),
    isWell: () => until(async () => (await health()).state === 'ok', 'it is well'),
    async [Symbol.asyncDispose]() {
      command.kill();
      await command.ended;
    },
  };
}

const images = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: `${i}.png`, value: digitPng(i % 10, i) }));

test('imagehub run ingests, says how it is on /healthz and /metrics, and ends with status 0 on an interrupt', async () => {
  await using pipeline = await testPipeline();
  await pipeline.produce([...images(20), { key: 'bad', value: Buffer.from('no image') }]);
  await using run = await running({
    IMAGEHUB_POSTGRES_URL: pipeline.postgres,
    IMAGEHUB_GROUP: pipeline.config.group,
  });
  await pipeline.drained();
  await run.isWell();
  expect(await run.health()).toEqual({ state: 'ok', parts: { ingest: { state: 'ok' } } });
  expect(await run.ready()).toEqual({ status: 200, ready: true });
  // What a batch did is counted just after its commit.
  for (const line of [
    /imagehub_messages_total\{dataset="digits",outcome="inserted"\} 20\n/,
    /imagehub_dead_letters_total\{dataset="digits",stage="decode",reason="not-an-image"\} 1\n/,
    /imagehub_batch_stage_seconds_count\{dataset="digits",stage="write"\} [1-9]/,
    /imagehub_consumer_lag\{[^}]*partition="0"\} 0\n/,
    /process_cpu_seconds_total/,
  ]) {
    await until(async () => line.test(await run.metrics()), `the metrics say ${line}`);
  }
  await run.says('dead-letters list');
  const lines = run.stderr().trim().split('\n');
  expect(JSON.parse(lines.find((line) => line.includes('dead-letters list'))!)).toMatchObject({
    dataset: 'digits',
    topic: pipeline.topic,
    partition: 0,
    offset: 20,
    msg: expect.stringContaining('not an image') as unknown,
  });
  run.interrupt();
  expect((await run.ended).status).toBe(0);
});

test('run waits for a Kafka that is away at start or goes away later, and can be interrupted meanwhile', async () => {
  await using kafka = await ownKafka();
  await using db = await freshDatabase();
  const topic = uniqueName('topic');
  const name = 'digits';
  await createDataset(db.pool, { name, topic, classes: TEN });
  const config = loadConfig({});
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const brokers = [kafka.url];
  await using admin = await openKafkaAdmin(config, brokers, log);
  await admin.createTopic(topic, 1);
  await kafka.stop();

  await using run = await running({ IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KAFKA_BROKERS: kafka.url });
  await run.waitsFor(/cannot consume.*Kafka at .* cannot be reached/);
  expect(await run.ready()).toMatchObject({ status: 503, parts: { ingest: { state: 'waiting' } } });
  await kafka.start();
  await run.says('consuming');
  await run.isWell();
  await until(async () => (await run.ready()).status === 200, 'it is ready');
  await kafka.stop();
  await run.waitsFor(/Kafka at .* cannot be reached/);
  const began = Date.now();
  run.interrupt();
  expect((await run.ended).status).toBe(0);
  // Sooner than the limit, past which the status would be another one, too.
  expect(Date.now() - began).toBeLessThan(25_000);
});

test('a taken port for /metrics is no obstacle, an address that is not ours is said to be one', async () => {
  await using db = await freshDatabase();
  const port = await freePort();
  const other = createServer().listen(port, '127.0.0.1');
  await once(other, 'listening');
  try {
    await using run = await running({
      IMAGEHUB_POSTGRES_URL: db.url,
      IMAGEHUB_OPERATIONS_PORT: String(port),
    });
    expect(Number(new URL(run.url).port)).toBeGreaterThan(port);
    await run.isWell();
    expect(await run.ready()).toEqual({ status: 200, ready: true });
  } finally {
    other.close();
  }
  const { status, stderr } = await imagehub(['run', 'ingest'], {
    env: { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_OPERATIONS_HOST: '203.0.113.1' },
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^imagehub: \/metrics cannot be served: .*\n {2}Set IMAGEHUB_OPERATIONS_HOST/);
});

test('a database that cannot be reached, or refuses the password, ends run at once with what to do', async () => {
  await using db = await freshDatabase();
  const nobody = `postgresql://imagehub:secret@127.0.0.1:1/imagehub`; // a port that no server takes
  const away = await imagehub(['run'], { env: { IMAGEHUB_POSTGRES_URL: nobody } });
  expect(away.status).toBe(1);
  expect(away.stderr).toMatch(/cannot be reached: .*ECONNREFUSED.*\n.*imagehub up/);
  expect(away.stderr).not.toContain('secret');

  const wrong = new URL(db.url);
  wrong.password = 'wrong';
  const refused = await imagehub(['run'], { env: { IMAGEHUB_POSTGRES_URL: wrong.href } });
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/refused the user or password.*\n.*IMAGEHUB_POSTGRES_URL/);
});
