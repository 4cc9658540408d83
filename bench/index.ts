import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { documentJson } from '../indexer/document-json.ts';
import { documentId } from '../indexer/documents.ts';
import { aliasOf, type Client, createNextIndex, openElasticsearch } from '../indexer/elasticsearch.ts';
import { runIndexer } from '../indexer/indexer.ts';
import { scanImages } from '../indexer/scan.ts';
import { createLogger } from '../log.ts';
import { createMetrics, type Metrics } from '../metrics.ts';
import { getDataset } from '../sql/datasets.ts';
import { amount, type BenchResult, compare, median, printResult } from './result.ts';
import { fillTopic, makeDataset, openScene, readMnist, spawnPipeline, untilSeen } from './scene.ts';

/** How often the indexer's counter is looked at, ms. */
const LOOK_EVERY_MS = 10;

const WARM_UP_ROUNDS = 6;

interface IndexOptions {
  data: string;
  runs: string;
}

export const indexCommand: RegisterCommand = (program) => {
  program
    .command('index')
    .description('60,000 committed rows that wait for the indexer, until they are documents')
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option('--json', 'end with one line of JSON')
    .action(async (options: IndexOptions & { json?: boolean }) => {
      printResult(await indexBench(commandContext(), options), options);
    });
};

/**
 * Documents per second, ours from the call of `runIndexer` (finding the feed, looking after indexes) to the last document,
 * beside `helpers.bulk` of Elasticsearch's client over the same documents, which lie ready in memory as JSON.
 */
async function indexBench(context: CommandContext, options: IndexOptions): Promise<BenchResult> {
  await using scene = await openScene(context, ['postgres', 'kafka', 'elasticsearch']);
  const { hub } = scene;
  const client = openElasticsearch(hub.config, hub.servers.elasticsearch!);
  const images = await readMnist(options.data);
  const ours: number[] = [];
  const bare: number[] = [];
  try {
    // Run 0 does not count: new servers are slow until their compilers are through, Elasticsearch for half a million documents.
    for (let run = 0; run <= Number(options.runs); run++) {
      const dataset = `bench_${run}`;
      await makeDataset(hub, dataset);
      await whileIndexing(hub, () => untilIndex(client, aliasOf(hub.config.indexPrefix, dataset)));
      await fillTopic(hub, dataset, images);
      {
        await using _pipeline = spawnPipeline(hub, 'ingest', dataset);
        await untilSeen(hub.pool, dataset, images.length);
      }
      const documents = await documentsOf(hub, dataset);
      for (let round = 0; run === 0 && round < WARM_UP_ROUNDS; round++)
        await bulkLoop(client, `warm-up-${round}`, documents);
      await settled(client);
      const theirs = documents.length / (await bulkLoop(client, `bare-${run}`, documents));
      await settled(client);
      const mine = documents.length / (await catchUp(hub, documents.length));
      note(`run ${run}: helpers.bulk ${amount(theirs)}, imagehub ${amount(mine)} documents/s`);
      await compareDocuments(client, aliasOf(hub.config.indexPrefix, dataset), documents);
      if (run === 0) continue;
      bare.push(Math.round(theirs));
      ours.push(Math.round(mine));
    }
  } finally {
    await client.close();
  }
  return compare('index', 'documents/s', 'more', median(ours), [
    { name: 'helpers.bulk', value: median(bare) },
  ]);
}

/** Runs the indexer, as `imagehub run index` does, for as long as `work` takes. */
async function whileIndexing<T>(hub: Hub, work: (metrics: Metrics) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const log = createLogger({ logLevel: 'warn', logFormat: 'auto' });
  const metrics = createMetrics();
  const indexing = runIndexer({ ...hub, log, metrics, signal: stop.signal });
  try {
    return await Promise.race([
      work(metrics),
      indexing.then(() => {
        throw new Error('The indexer ended by itself.');
      }),
    ]);
  } finally {
    stop.abort();
    await indexing;
  }
}

/** Until Elasticsearch has acknowledged so many documents. @returns seconds */
async function catchUp(hub: Hub, documents: number): Promise<number> {
  const began = performance.now();
  return whileIndexing(hub, async ({ indexDocuments }) => {
    for (let taken = 0; taken < documents; await sleep(LOOK_EVERY_MS)) {
      const { values } = await indexDocuments.get();
      taken = values.reduce((sum, { value }) => sum + value, 0);
    }
    return (performance.now() - began) / 1000;
  });
}

/** Until Elasticsearch has nothing left to do: what one has written would be refreshed and merged in the other one's time. */
async function settled(client: Client): Promise<void> {
  await client.indices.refresh();
  for (; ; await sleep(50)) {
    const { _all } = await client.indices.stats({ metric: 'merge' });
    if (!_all.total?.merges?.current) return;
  }
}

/** Until the dataset's index is there. */
async function untilIndex(client: Client, alias: string): Promise<void> {
  while (!(await client.indices.existsAlias({ name: alias }))) await sleep(50);
}

interface ReadyDocument {
  id: string;
  source: string;
}

async function documentsOf({ pool }: Hub, dataset: string): Promise<ReadyDocument[]> {
  const { classes } = await getDataset(pool, dataset);
  const documents: ReadyDocument[] = [];
  for await (const rows of scanImages(pool, dataset)) {
    for (const { id, row } of rows)
      documents.push({ id: documentId(dataset, id), source: documentJson(row, classes) });
  }
  return documents;
}

/** Into an index like ours. @returns seconds */
async function bulkLoop(client: Client, alias: string, documents: ReadyDocument[]): Promise<number> {
  const { name } = await createNextIndex(client, alias);
  const began = performance.now();
  const { failed } = await client.helpers.bulk<ReadyDocument>({
    datasource: documents,
    // The second is the document; that it may be a string is not in the types.
    onDocument: ({ id, source }) => [{ index: { _index: name, _id: id } }, source as unknown as object],
  });
  const took = (performance.now() - began) / 1000;
  if (failed > 0) throw new Error(`helpers.bulk failed on ${failed} documents`);
  return took;
}

/** Both wrote the same. */
async function compareDocuments(client: Client, index: string, documents: ReadyDocument[]): Promise<void> {
  await client.indices.refresh({ index });
  const { count } = await client.count({ index });
  if (count !== documents.length) throw new Error(`${count} documents instead of ${documents.length}`);
  const sample = documents.filter((_, i) => i % 100 === 0);
  const { docs } = await client.mget<object>({ index, ids: sample.map(({ id }) => id) });
  docs.forEach((found, i) => {
    const expected = JSON.parse(sample[i]!.source) as object;
    if (!('_source' in found) || !isDeepStrictEqual(found._source, expected))
      throw new Error(`Document ${sample[i]!.id} is not what its row says: ${JSON.stringify(found)}`);
  });
}
