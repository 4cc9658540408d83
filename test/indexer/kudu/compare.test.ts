import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findMissing } from '../../../console/missing.ts';
import { goLive, testPipeline, type TestPipeline } from '../../support/pipeline.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitPng } from '../../support/digits.ts';
import { openElasticsearch } from '../../../indexer/elasticsearch.ts';
import { runIndexer } from '../../../indexer/indexer.ts';
import { testServers } from '../../support/servers.ts';
import { until } from '../../support/pipeline.ts';
import { connect } from '../../../kudu/index.ts';

let pipeline: TestPipeline;
let stopIndexer: () => Promise<void>;

const contextOf = ({ pool, postgres, brokers, kudu, config, log }: TestPipeline) => ({
  pool,
  servers: { postgres, kafka: brokers, elasticsearch: testServers().elasticsearch, kudu },
  config,
  log,
});

const deep = () =>
  findMissing(contextOf(pipeline), pipeline.dataset, {
    signal: new AbortController().signal,
    onTopic: () => undefined,
    onIndex: () => undefined,
  });

beforeAll(async () => {
  pipeline = await testPipeline({
    store: 'kudu',
    partitions: 2,
    elasticsearch: testServers().elasticsearch,
  });
  await goLive(pipeline.pool, pipeline.dataset, constantModel(4));
  const stop = new AbortController();
  const { pool, config, log } = pipeline;
  const done = runIndexer({ config, servers: contextOf(pipeline).servers, pool, log, signal: stop.signal });
  stopIndexer = async () => {
    stop.abort();
    await done;
  };
  const keys = Array.from({ length: 200 }, (_, i) => `${i}.png`);
  await pipeline.produce(keys.map((key, i) => ({ key, value: digitPng(i % 10, i) })));
  const ingest = await pipeline.startIngest();
  await pipeline.drained();
  await pipeline.produce([
    { key: '0.png', value: null },
    { key: '1.png', value: digitPng(2, 2) },
    { key: '2.png', value: Buffer.from('no image') },
  ]);
  await pipeline.drained();
  await ingest.stop();
  await until(async () => {
    const { documents, consistent } = await pipeline.reconcile();
    return consistent && documents === 199;
  }, 'the index is in step');
});

afterAll(async () => {
  await stopIndexer();
  const { config } = pipeline;
  const client = openElasticsearch(config, testServers().elasticsearch);
  const own = `${config.indexPrefix}-${pipeline.dataset}-*`;
  for (const name of Object.keys(await client.indices.get({ index: own })))
    await client.indices.delete({ index: name });
  await client.close();
  await pipeline[Symbol.asyncDispose]();
});

describe('reconcile of a dataset in Kudu', () => {
  test('compares rows with documents by count and revisions', async () => {
    const { checks } = await pipeline.reconcile();
    expect(checks.map(({ name }) => name)).toEqual(
      expect.arrayContaining([expect.stringMatching(/documents = rows/), expect.stringMatching(/revisions/)]),
    );
  });

  test('--deep names nothing where nothing is missing', async () => {
    const missing = await deep();
    expect(missing).toMatchObject({
      messagesRead: 203,
      messages: { count: 0 },
      documents: { withoutRow: { count: 0 }, missing: { count: 0 }, otherRevision: { count: 0 } },
    });
  });

  test('--deep names a document, a row and a message that were lost, and a document that is too old', async () => {
    const { config, dataset } = pipeline;
    await stopIndexer();
    stopIndexer = () => Promise.resolve();
    const client = openElasticsearch(config, testServers().elasticsearch);
    const index = `${config.indexPrefix}-${dataset}`;
    await client.delete({ index, id: `${dataset}/5.png` });
    await client.index({
      index,
      id: `${dataset}/ghost.png`,
      document: { id: 'ghost.png', dataset, revision: 1 },
    });
    await client.close();
    using kudu = await connect({ masters: pipeline.kudu! });
    const table = await kudu.openTable(dataset);
    const session = kudu.session();
    session.delete(table, { id: '7.png' });
    session.update(table, { id: '8.png', revision: 999_999n });
    await session.flush();
    const missing = await deep();
    expect(missing.messages.names.map(({ id }) => id)).toEqual(['7.png']);
    expect(missing.documents).toEqual({
      missing: { count: 1, names: ['5.png'] },
      withoutRow: { count: 2, names: expect.arrayContaining(['7.png', 'ghost.png']) },
      otherRevision: { count: 1, names: ['8.png'] },
    });
    expect((await pipeline.reconcile()).consistent).toBe(false);
  });
});
