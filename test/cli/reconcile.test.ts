import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Missing } from '../../console/missing.ts';
import type { Reconciliation } from '../../console/reconcile.ts';
import { type Client, openElasticsearch } from '../../indexer/elasticsearch.ts';
import { digitPng } from '../support/digits.ts';
import { imagehub, type RunningCommand, startImagehub } from '../support/imagehub.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { testServers, uniqueName } from '../support/servers.ts';

type Result = Reconciliation & { missing: Missing };

const prefix = uniqueName('reconcile');
const HOUR_MS = 3_600_000;
let pipeline: TestPipeline;
let client: Client;
let env: NodeJS.ProcessEnv;

const digits = (count: number, name: string) =>
  Array.from({ length: count }, (_, i) => ({ key: `${name}-${i}`, value: digitPng(i % 10, i) }));

async function deep(...args: string[]): Promise<{ status: number | null; result: Result }> {
  const { status, stdout, stderr } = await imagehub(['reconcile', 'digits', '--deep', '--json', ...args], {
    env,
  });
  if (stdout === '') throw new Error(stderr);
  return { status, result: JSON.parse(stdout) as Result };
}

/** Changes the table behind everybody's back: no trigger fires, so that no book is kept. */
async function secretly(sql: string, values: unknown[] = []): Promise<void> {
  const session = await pipeline.pool.connect();
  try {
    await session.query('set session_replication_role = replica');
    await session.query(sql, values);
  } finally {
    session.release(true);
  }
}

async function running<T>(work: (run: RunningCommand) => Promise<T>): Promise<T> {
  const run = startImagehub(['run'], { env });
  try {
    await run.says('imagehub runs');
    return await work(run);
  } finally {
    run.interrupt();
    await run.ended;
  }
}

const inStep = () =>
  until(
    async () => {
      const { stdout } = await imagehub(['reconcile', 'digits', '--json'], { env });
      const { consistent, complete, documents } = JSON.parse(stdout) as Reconciliation;
      // Without an index there is nothing to compare, and nothing inconsistent.
      return consistent && complete && documents !== null;
    },
    'everything is taken and indexed',
    60_000,
  );

/** Messages of every fate, all taken and indexed. */
beforeAll(async () => {
  pipeline = await testPipeline({ partitions: 2 });
  client = openElasticsearch({ elasticsearchApiKey: undefined }, testServers().elasticsearch);
  env = {
    IMAGEHUB_POSTGRES_URL: pipeline.postgres,
    IMAGEHUB_ELASTICSEARCH_URL: testServers().elasticsearch,
    IMAGEHUB_INDEX_PREFIX: prefix,
    IMAGEHUB_GROUP: pipeline.config.group,
    IMAGEHUB_OPERATIONS_PORT: '0',
    IMAGEHUB_WORKERS: '1',
  };
  const before = String(Date.now() - HOUR_MS);
  await pipeline.produce([
    ...digits(60, 'image'),
    // Twice in one batch, and again through the other partition as if it were late.
    ...digits(5, 'image'),
    ...digits(10, 'image').flatMap((message) => [
      { ...message, partition: 0, timestamp: before },
      { ...message, partition: 1, timestamp: before },
    ]),
    { key: null, value: digitPng(1, 1) },
    { key: 'x'.repeat(401), value: digitPng(1, 1) },
    ...Array.from({ length: 4 }, (_, i) => ({ key: `bad-${i}`, value: Buffer.from('no image') })),
    { key: 'image-50', value: null },
    { key: 'never-there', value: null },
    { key: null, value: null },
  ]);
  await running(async () => {
    await pipeline.drained();
    await pipeline.pool.query("delete from digits where id in ('image-51', 'image-52')");
    await pipeline.pool.query("update digits set known_label = 3 where id = 'image-1'");
    await pipeline.pool.query(
      "insert into digits (id, image_base64, image_pgm) select id, image_base64, image_pgm from (values ('by hand', '', ''::bytea)) as t (id, image_base64, image_pgm)",
    );
    await pipeline.produce(digits(3, 'image'));
    await pipeline.drained();
    await inStep();
  });
}, 120_000);

afterAll(async () => {
  for (const name of Object.keys(await client.indices.get({ index: `${prefix}-*` }))) {
    await client.indices.delete({ index: name });
  }
  await client.indices.deleteIndexTemplate({ name: prefix }, { ignore: [404] });
  await client.close();
  await pipeline[Symbol.asyncDispose]();
});

describe('imagehub reconcile --deep', () => {
  test('names nothing where everything has its row, dead letter, deletion or newer message, and its document', async () => {
    const { status, result } = await deep();
    const nothing = { count: 0, names: [] };
    expect(result.missing).toEqual({
      messagesRead: 97,
      messages: nothing,
      oldMessages: nothing,
      dropped: 0,
      documents: { missing: nothing, withoutRow: nothing, otherRevision: nothing },
    });
    expect(result).toMatchObject({ consistent: true, complete: true, deadLetters: 6 });
    expect(result.checks.filter(({ name }) => name.endsWith('= 0'))).toHaveLength(4);
    expect(status).toBe(0);
  });

  test('names messages that left no trace: a row and a dead letter that were lost', async () => {
    const { rows } = await pipeline.pool.query<{ partition: number; offset: number }>(
      `select source_partition as partition, source_offset as "offset" from digits where id = 'image-20'`,
    );
    await secretly('create table lost_rows as table digits with no data');
    await secretly(
      "with lost as (delete from digits where id = 'image-20' returning *) insert into lost_rows select * from lost",
    );
    const letters = await pipeline.pool.query<{ partition: number; offset: number }>(
      `delete from imagehub.dead_letters where convert_from(key, 'UTF8') = 'bad-1'
       returning source_partition as partition, source_offset as "offset"`,
    );
    const { status, result } = await deep();
    expect(status).toBe(1);
    expect(result.consistent).toBe(false);
    expect(result.missing.messages.count).toBe(2);
    expect(result.missing.messages.names).toEqual(
      expect.arrayContaining([
        { topic: pipeline.topic, id: 'image-20', timestamp: expect.any(String), ...rows[0]! },
        { topic: pipeline.topic, id: 'bad-1', timestamp: expect.any(String), ...letters.rows[0]! },
      ]),
    );
    // The index still has it.
    expect(result.missing.documents!.withoutRow).toEqual({ count: 1, names: ['image-20'] });

    const { stdout } = await imagehub(['reconcile', 'digits', '--deep'], { env });
    expect(stdout).toContain('  2 messages without row, dead letter or deletion:');
    expect(stdout).toContain(
      `${pipeline.topic}/${rows[0]!.partition} offset ${rows[0]!.offset}, key image-20`,
    );
    expect(stdout).toContain('The books do not agree.');
    const shallow = await imagehub(['reconcile', 'digits'], { env });
    expect(shallow.status).toBe(1);
    expect(shallow.stdout).toContain('imagehub reconcile digits --deep names what is missing.');

    await secretly('insert into digits select * from lost_rows');
    await secretly('drop table lost_rows');
  });

  test('dead letters that were given up are told apart from what was lost', async () => {
    // The one that the test before deleted in SQL was lost; these are given up, and still lie in the topic.
    await imagehub(['dead-letters', 'drop', 'digits', '--reason', 'not-an-image', '--yes'], { env });
    const { result } = await deep();
    expect(result.missing).toMatchObject({ messages: { count: 4 }, dropped: 3 });
    expect(result.checks.find(({ name }) => name.includes('given up'))).toMatchObject({ left: 1, ok: false });
  });

  test('messages from before the memory of deletions are not said to be lost', async () => {
    await pipeline.produce(
      digits(2, 'old').map((message) => ({ ...message, timestamp: String(Date.now() - 40 * 24 * HOUR_MS) })),
    );
    await running(async () => {
      await pipeline.drained();
      await pipeline.pool.query("delete from digits where id like 'old-%'");
      await pipeline.pool.query("delete from imagehub.deleted_images where id like 'old-%'");
      await pipeline.pool.query('update imagehub.datasets set pruned_deletions = pruned_deletions + 2');
    });
    const { result } = await deep();
    expect(result.missing.oldMessages.names.map(({ id }) => id).sort()).toEqual(['old-0', 'old-1']);
    expect(result.missing.messages.count).toBe(4);
  });

  test('names rows without document, documents without row, and documents of another revision', async () => {
    await running(inIndex);
    const index = `${prefix}-digits`;
    await client.delete({ index, id: 'digits/image-30' });
    await client.delete({ index, id: 'digits/image-31' });
    await client.index({
      index,
      id: 'digits/nobody',
      document: { dataset: 'digits', id: 'nobody', revision: 1 },
      version: 1,
      version_type: 'external',
    });
    await pipeline.pool.query("update digits set known_label = 7 where id = 'image-32'");
    const { status, result } = await deep();
    expect(status).toBe(1);
    expect(result.missing.documents).toEqual({
      missing: { count: 2, names: ['image-30', 'image-31'] },
      withoutRow: { count: 1, names: ['nobody'] },
      otherRevision: { count: 1, names: ['image-32'] },
    });
  });

  test('waits for what the indexer is only late with, and shows a person the first twenty names', async () => {
    await running(async () => {
      // A change that is under way while the two are compared.
      const late = pipeline.pool.query('update digits set known_label = 8');
      const { result } = await deep();
      await late;
      expect(result.missing.documents!.otherRevision.names).toEqual([]);
    });
    await pipeline.pool.query('update digits set known_label = 9');
    const { stdout } = await imagehub(['reconcile', 'digits', '--deep'], { env });
    const count = (await pipeline.pool.query('select from digits')).rowCount!;
    expect(stdout).toContain(`  ${count} documents of another revision than their row:`);
    expect(stdout).toContain(`    … and ${count - 20} more (--json names them)`);
    expect(stdout.match(/^ {4}image-\d+$/gm)!.length).toBeGreaterThan(18);
  });

  test('a document that Elasticsearch refused is known, and no reason to doubt the others', async () => {
    await running(inIndex);
    const index = `${prefix}-digits`;
    await client.delete({ index, id: 'digits/nobody' }, { ignore: [404] });
    for (const id of ['image-30', 'image-31', 'image-40']) {
      await pipeline.pool.query('update digits set known_label = 1 where id = $1', [id]);
    }
    await running(inIndex);
    expect((await deep()).result.missing.documents!.missing.count).toBe(0);
    await client.delete({ index, id: 'digits/image-40' });
    expect((await deep()).result.missing.documents!.missing.names).toEqual(['image-40']);
    await pipeline.pool.query(
      `insert into imagehub.index_dead_documents (dataset, id, revision, error)
       select dataset, id, revision, 'too large' from digits where id = 'image-40'`,
    );
    const { result } = await deep();
    expect(result.missing.documents!.missing.count).toBe(0);
    expect(result.checks.filter(({ name, ok }) => /document|revision/.test(name) && !ok)).toEqual([]);
  });
});

/** Waits until no row lacks its newest document. */
async function inIndex(): Promise<void> {
  await until(
    async () => (await deep()).result.missing.documents!.otherRevision.count === 0,
    'the index is in step',
    60_000,
  );
}
