import { HubError } from '../errors.ts';
import { checkElasticsearch, openElasticsearch } from '../indexer/elasticsearch.ts';
import { openIndexSources } from '../indexer/open-sources.ts';
import { rebuildIndex, type RebuildOptions, reputDocuments } from '../indexer/rebuild.ts';
import { checkPostgres } from '../indexer/slot.ts';
import { type IndexStatus, indexStatus } from '../indexer/status.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { Troubles } from '../troubles.ts';
import { report } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';
import Table from 'cli-table3';

const JSON_OPTION = ['--json', 'one JSON document on standard output'] as const;

export const indexCommand: RegisterCommand = (program) => {
  const index = program.command('index').description('the search index: how it stands, and building it anew');

  index
    .command('rebuild <dataset>')
    .description('build the index of a dataset anew while the old one serves, then switch over')
    .option(
      '--where <sql>',
      'only put the documents of rows that match again, in place, e.g. "prediction = 3"',
    )
    .option(...JSON_OPTION)
    .action(rebuild);

  index
    .command('status')
    .description('how far the change feed is, and rows against documents of every dataset')
    .option(...JSON_OPTION)
    .action(status);
};

async function rebuild(dataset: string, options: { where?: string; json?: boolean }): Promise<void> {
  const signal = interruptSignal();
  await using hub = await openHub(commandContext());
  const { url, client } = await openIndex(hub);
  let progress: Progress | undefined;
  const rebuildOptions: RebuildOptions = {
    ...hub,
    client,
    postgresUrl: hub.servers.postgres,
    elasticsearchUrl: url,
    troubles: new Troubles(hub.log),
    signal,
    onProgress(rows, total) {
      progress ??= createProgress({ label: `indexing ${dataset}`, total });
      progress.update(rows);
    },
  };
  try {
    if (options.where !== undefined) {
      const result = await reputDocuments(dataset, options.where, rebuildOptions);
      progress?.stop();
      report(
        options,
        result,
        ({ scanned, alias, seconds }) =>
          `Put ${scanned} documents again in ${alias} (${seconds.toFixed(1)} s).`,
      );
      return;
    }
    await checkPostgres(hub.pool);
    const result = await rebuildIndex(dataset, rebuildOptions);
    progress?.stop();
    report(options, result!, ({ rows, documents, deadDocuments, index, alias, seconds }) =>
      [
        `${alias} → ${index}: ${documents} documents for ${rows} rows (${seconds.toFixed(1)} s).`,
        ...(deadDocuments > 0
          ? [`Elasticsearch refused ${deadDocuments} of them: select * from imagehub.index_dead_documents`]
          : []),
      ].join('\n'),
    );
  } finally {
    progress?.stop();
    await client.close();
  }
}

async function status(options: { json?: boolean }): Promise<void> {
  await using hub = await openHub(commandContext());
  const { client } = await openIndex(hub);
  try {
    using sources = openIndexSources(hub.pool, hub.servers.kudu);
    report(options, await indexStatus(hub.pool, client, hub.config, sources), statusText);
  } finally {
    await client.close();
  }
}

async function openIndex({ config, servers }: Hub) {
  const url = servers.elasticsearch;
  if (url === null) {
    throw new HubError('NO_SERVER', 'There is no Elasticsearch.', {
      hint: 'Set IMAGEHUB_ELASTICSEARCH_URL, or start the local servers with Java and Maven installed: imagehub up',
    });
  }
  const client = openElasticsearch(config, url);
  await checkElasticsearch(client, url);
  return { url, client };
}

function statusText({ feed, datasets }: IndexStatus): string {
  const mib = (bytes: number | null) => (bytes === null ? '–' : `${(bytes / 1024 / 1024).toFixed(1)} MiB`);
  const lines = [
    `Change feed ${feed.slot}: ${feed.state}`,
    `  behind by ${mib(feed.lagBytes)}, ${feed.lagSeconds === null ? '–' : `${feed.lagSeconds.toFixed(1)} s`}; ` +
      `the database keeps ${mib(feed.retainedBytes)} of its log for it (limit ${mib(feed.limitBytes)})`,
  ];
  if (datasets.length === 0) return [...lines, 'There are no datasets.'].join('\n');
  const table = new Table({
    head: ['dataset', 'index', 'rows', 'documents', 'refused', 'rebuild'],
    style: { head: [], border: [] },
  });
  for (const d of datasets) {
    const why = d.rebuild === 'none' ? '' : `${d.rebuild}${d.rebuildReason ? `: ${d.rebuildReason}` : ''}`;
    table.push([d.dataset, d.index ?? '–', d.rows ?? '–', d.documents ?? '–', d.deadDocuments, why]);
  }
  const inKudu = datasets.flatMap(({ dataset, store, lagSeconds }) => {
    if (store !== 'kudu') return [];
    return lagSeconds === null
      ? [`${dataset} is in Kudu; its index is still to be built`]
      : [`${dataset} is in Kudu, its index behind by ${lagSeconds.toFixed(1)} s`];
  });
  const errors = datasets.flatMap((d) => (d.lastError ? [`${d.dataset}: last error: ${d.lastError}`] : []));
  return [...lines, table.toString(), ...inKudu, ...errors].join('\n');
}
