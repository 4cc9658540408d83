import { describe, expect, test } from '@jest/globals';
import { hybridTime } from '../../../kudu/index.ts';
import { indexStatus } from '../../../indexer/status.ts';
import { openIndexSources } from '../../../indexer/open-sources.ts';
import { kuduCluster } from '../../kudu/support/kudu-cluster.ts';
import { awayProxy } from '../../support/away-proxy.ts';
import { runProcess } from '../../support/ingest-process.ts';
import { until } from '../../support/pipeline.ts';
import { testServers } from '../../support/servers.ts';
import { kuduIndex, type KuduIndex } from './support/kudu-index.ts';

const rows = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ id: `${from + i}.png` }));

const positionOf = async ({ pool, dataset }: KuduIndex) =>
  (
    await pool.query<{ position: string | null; generation: number; behind: boolean }>(
      'select position::text, generation, not caught_up as behind from imagehub.kudu_index_feeds where dataset = $1',
      [dataset],
    )
  ).rows[0]!;

describe('what following a dataset in Kudu survives', () => {
  test('Kudu away: it waits and says so, Postgres’s datasets go on, and the lag grows', async () => {
    await using cluster = await kuduCluster();
    await using index = await kuduIndex({ kudu: cluster.addresses });
    const { dataset, pool, client, config } = index;
    const indexer = index.start();
    await index.put(rows(100));
    await index.follows();
    const lag = async () => {
      const { values } = await indexer.metrics.kuduIndexLagSeconds.get();
      return values.find(({ labels }) => labels.dataset === dataset)?.value;
    };
    await until(async () => (await lag()) === 0, 'the metric says that it is in step');
    await cluster.tservers[0]!.kill();
    await until(
      () => Promise.resolve(indexer.lines.some(({ msg }) => /cannot be read from Kudu/.test(msg))),
      'it says so',
    );
    await until(async () => ((await lag()) ?? 0) > 1, 'the metric says that it is late');
    await pool.query(`insert into mnist (id, image_base64, image_pgm) values ('a', '', '')`);
    await index.inStep('mnist');
    using sources = openIndexSources(pool, ['127.0.0.1:9']);
    const status = await indexStatus(pool, client, config, sources);
    const own = status.datasets.find((one) => one.dataset === dataset)!;
    expect(own).toMatchObject({ rows: null, documents: 100, store: 'kudu' });
    expect(own.lagSeconds).toBeGreaterThan(1);

    cluster.tservers[0]!.start();
    await index.put(rows(100, 100));
    await index.follows();
    await until(async () => (await lag()) === 0, 'the metric says that it has caught up');
    expect(indexer.lines.some(({ msg }) => /no longer so: the changes of/.test(msg))).toBe(true);
    expect((await positionOf(index)).generation).toBe(1);
  });

  test('Elasticsearch away: the position stays where everything before is in the index', async () => {
    await using proxy = await awayProxy(testServers().elasticsearch);
    await using index = await kuduIndex({ elasticsearch: proxy.url });
    const first = index.start();
    await index.put(rows(10));
    await index.follows();
    await proxy.away();
    const before = await positionOf(index);
    await index.put(rows(500, 100));
    await until(
      () => Promise.resolve(first.lines.some(({ msg }) => /does not take documents/.test(msg))),
      'it has read the changes',
    );
    await until(async () => (await positionOf(index)).behind, 'it is known to be late');
    await first.stop();
    expect((await positionOf(index)).position).toBe(before.position);
    await proxy.back();
    index.start();
    await index.follows();
    expect((await positionOf(index)).generation).toBe(1);
  });

  test('an end between the index and the position: what was put there, and is taken out of Kudu meanwhile, goes', async () => {
    await using index = await kuduIndex();
    const { dataset, pool } = index;
    const first = index.start();
    await index.put(rows(10));
    await index.follows();
    await pool.query(
      `create function imagehub.stuck() returns trigger language plpgsql as $$ begin raise 'stuck'; end $$;
       create trigger stuck before update on imagehub.kudu_index_feeds for each row
         when (new.position is distinct from old.position) execute function imagehub.stuck()`,
    );
    await index.put([{ id: 'came.png' }]);
    await until(async () => (await index.document('came.png', dataset)) !== undefined, 'the index has it');
    await first.stop();
    await pool.query('drop trigger stuck on imagehub.kudu_index_feeds');
    // By somebody: nobody else remembers it.
    await using session = index.kudu.session();
    session.delete(index.table, { id: 'came.png' });
    await session.flush();
    index.start();
    await index.follows();
    expect(await index.document('came.png', dataset)).toBeUndefined();
  });

  test('kill −9 while changes come: the next one goes on from the position', async () => {
    await using index = await kuduIndex();
    const { config, servers } = index;
    const started = () =>
      runProcess(
        {
          postgres: servers.postgres,
          brokers: [],
          elasticsearch: servers.elasticsearch,
          kudu: servers.kudu,
          config,
        },
        { IMAGEHUB_INDEX_PREFIX: config.indexPrefix, IMAGEHUB_KUDU_INDEX_MS: '50' },
        ['index'],
      );
    let victim = await started();
    await index.put(rows(10));
    await index.follows();
    for (let kill = 1; kill <= 2; kill++) {
      for (let part = 0; part < 5; part++) {
        await index.put(rows(300, kill * 10_000 + part * 200));
        await index.remove([`${kill * 10_000 + part * 200}.png`]);
      }
      await victim.kill('SIGKILL');
      await index.put(rows(300, kill * 10_000 + 900));
      await index.remove([`${kill * 10_000 + 1}.png`]);
      victim = await started();
    }
    await index.follows();
    expect((await positionOf(index)).generation).toBe(1);
  });

  test('a position that is older than the table’s history: the index is built anew', async () => {
    await using index = await kuduIndex();
    const { dataset, pool } = index;
    const first = index.start();
    await index.put(rows(100));
    await index.follows();
    await first.stop();
    await index.remove(['7.png']);
    await pool.query('delete from imagehub.deleted_images');
    const longAgo = hybridTime(new Date(Date.now() - 20 * 24 * 3600 * 1000));
    await pool.query('update imagehub.kudu_index_feeds set position = $1', [String(longAgo)]);
    const second = index.start();
    await index.follows();
    await until(async () => (await positionOf(index)).position !== null, 'it is followed again');
    expect(await index.document('7.png', dataset)).toBeUndefined();
    expect((await positionOf(index)).generation).toBe(3);
    const said = second.lines.filter(({ msg }) => /keeps the history/.test(msg));
    expect(said.map(({ level }) => level)).toEqual([50, 40]);
    await index.put(rows(1, 200));
    await index.follows();
  });

  test('without a Kudu that it knows of, it says so and keeps the others in step', async () => {
    await using index = await kuduIndex();
    const { pool } = index;
    const indexer = index.start({ servers: { kudu: null } });
    await until(
      () => Promise.resolve(indexer.lines.some(({ msg }) => /cannot be rebuilt: There is no Kudu/.test(msg))),
      'it says so',
    );
    await pool.query(`insert into mnist (id, image_base64, image_pgm) values ('a', '', '')`);
    await index.inStep('mnist');
  });
});
