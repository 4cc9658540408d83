import { describe, expect, test } from '@jest/globals';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, testIndex, type TestIndex } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';
import { imagehub } from '../support/processes.ts';

const environment = ({ config, servers }: TestIndex) => ({
  IMAGEHUB_POSTGRES_URL: servers.postgres,
  IMAGEHUB_ELASTICSEARCH_URL: servers.elasticsearch!,
  IMAGEHUB_INDEX_PREFIX: config.indexPrefix,
});

async function run(args: string[], env: NodeJS.ProcessEnv) {
  const command = imagehub(args, env);
  const exit = await command.exit;
  return { exit, stdout: command.stdout(), stderr: command.stderr() };
}

describe('imagehub index', () => {
  test('rebuild prints one JSON document, and status agrees with it', async () => {
    await using index = await testIndex();
    const env = environment(index);
    await insertRows(index.pool, 1200);

    const before = await run(['index', 'status', '--json'], env);
    expect(JSON.parse(before.stdout)).toMatchObject({
      feed: { state: 'missing', lagBytes: null },
      datasets: [{ dataset: 'mnist', rows: 1200, documents: null, rebuild: 'none' }],
    });

    const rebuilt = await run(['index', 'rebuild', 'mnist', '--json'], env);
    expect(rebuilt).toMatchObject({ exit: 0 });
    expect(JSON.parse(rebuilt.stdout)).toMatchObject({
      dataset: 'mnist',
      alias: `${index.config.indexPrefix}-mnist`,
      index: `${index.config.indexPrefix}-mnist-000001`,
      rows: 1200,
      documents: 1200,
      deadDocuments: 0,
    });

    const some = await run(['index', 'rebuild', 'mnist', '--where', 'known_label = 3', '--json'], env);
    expect(JSON.parse(some.stdout)).toMatchObject({ scanned: 120 });

    index.start();
    await insertImage(index.pool, 'mnist', { id: 'more' });
    await index.inStep();
    await until(async () => {
      const { stdout } = await run(['index', 'status', '--json'], env);
      const { feed, datasets } = JSON.parse(stdout) as {
        feed: { state: string; lagSeconds: number };
        datasets: { rows: number; documents: number; rebuild: string }[];
      };
      const [mnist] = datasets;
      return (
        feed.state === 'following' &&
        feed.lagSeconds === 0 &&
        mnist!.rows === 1201 &&
        mnist!.documents === 1201 &&
        mnist!.rebuild === 'none'
      );
    }, 'status says that all is well');
    expect((await run(['index', 'status'], env)).stdout).toMatch(/following[^]*mnist[^]*1201/);
  });

  test('says what is wrong, and fails', async () => {
    await using index = await testIndex();
    const env = environment(index);
    const unknown = await run(['index', 'rebuild', 'nothing'], env);
    expect(unknown).toMatchObject({
      exit: 1,
      stdout: '',
      stderr: expect.stringMatching(/no dataset nothing.*mnist/),
    });

    const unreachable = await run(['index', 'status'], {
      ...env,
      IMAGEHUB_ELASTICSEARCH_URL: 'http://127.0.0.1:9',
    });
    expect(unreachable).toMatchObject({
      exit: 1,
      stdout: '',
      stderr: expect.stringMatching(/Elasticsearch at http:\/\/127.0.0.1:9 cannot be reached/),
    });
  });

  test('an interrupted rebuild leaves the old index serving', async () => {
    await using index = await testIndex();
    const env = environment(index);
    await insertRows(index.pool, 20_000);
    await index.rebuild();
    const command = imagehub(['index', 'rebuild', 'mnist'], env);
    await until(
      () => index.client.indices.exists({ index: `${index.config.indexPrefix}-mnist-000002` }),
      'the new index is there',
      90_000,
      10,
    );
    command.child.kill('SIGINT');
    expect(await command.exit).toBe(130);
    expect(command.stderr()).toMatch(/interrupted; the old index goes on serving/);
    expect(Object.keys(await index.client.indices.get({ index: `${index.config.indexPrefix}-*` }))).toEqual([
      `${index.config.indexPrefix}-mnist-000001`,
    ]);
    expect((await index.reconcile()).equal).toBe(true);
  });

  test('a rebuild that is killed is cleaned up by the next one', async () => {
    await using index = await testIndex();
    const env = environment(index);
    await insertRows(index.pool, 20_000);
    await index.rebuild();
    const command = imagehub(['index', 'rebuild', 'mnist'], env);
    await until(
      () => index.client.indices.exists({ index: `${index.config.indexPrefix}-mnist-000002` }),
      'the new index is there',
      90_000,
      10,
    );
    command.child.kill('SIGKILL');
    await command.exit;
    expect((await index.reconcile()).equal).toBe(true);
    await index.rebuild();
    expect(
      Object.keys(await index.client.indices.get({ index: `${index.config.indexPrefix}-*` })),
    ).toHaveLength(1);
    expect((await index.reconcile()).equal).toBe(true);
  });
});
