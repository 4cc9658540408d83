import { Argument } from 'commander';
import { type Health, startOperationsServer } from '../console/operations-server.ts';
import { errorText } from '../errors.ts';
import { watchFeedRetention } from '../indexer/retention.ts';
import { openIngest } from '../ingest/open-ingest.ts';
import { runIngest } from '../ingest/run-ingest.ts';
import { createMetrics, type Metrics } from '../metrics.ts';
import { startBackgroundRun } from '../stack/background-run.ts';
import { Troubles } from '../troubles.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { note } from './output.ts';
import { interruptSignal } from './shutdown.ts';

const ROLES = ['ingest', 'index'] as const;
type Role = (typeof ROLES)[number];

export const runCommand: RegisterCommand = (program) => {
  program
    .command('run')
    .description('run the pipeline until interrupted: ingest topics into the table, keep the index in step')
    .addArgument(
      new Argument('[roles...]', 'only these parts (default: all that have a server)').choices(ROLES),
    )
    .addHelpText(
      'after',
      '\nThe first interrupt finishes the batches in flight, the second stops at once; nothing is lost either way.' +
        '\nAny number of processes may run: they share the partitions of the topics.',
    )
    .option(
      '-d, --detach',
      'run in the background, output in the folder’s logs/run.log; imagehub down stops it',
    )
    .action(async (roles: Role[], options: { detach?: boolean }) => {
      if (options.detach) {
        const { config } = commandContext();
        const { pid, log } = await startBackgroundRun(config, roles);
        note(`The pipeline runs in the background (process ${pid}); its log is ${log}.`);
        return;
      }
      await using hub = await openHub(commandContext());
      await runRoles(hub, roles, interruptSignal());
    });
};

/** Runs the roles side by side until the signal is aborted. A role that fails for good ends the others too. */
export async function runRoles(hub: Hub, roles: Role[], signal: AbortSignal): Promise<void> {
  const { config, servers, log } = hub;
  const metrics = createMetrics();
  const wanted =
    roles.length > 0 ? roles : ROLES.filter((role) => role !== 'index' || servers.elasticsearch !== null);
  const health = new Map<Role, () => Health>(wanted.map((role) => [role, () => ({ state: 'ok' })]));
  const everyHealth = () => Object.fromEntries([...health].map(([role, now]) => [role, now()]));
  const operations = await startOperationsServer(config, metrics, everyHealth, log);
  log.info({ roles: wanted, metrics: `${operations.url}/metrics` }, 'imagehub runs');
  if (!servers.kafka) log.info('no Kafka here: senders bring their images themselves (embedded mode)');

  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);
  const start = { ingest: startIngest, index: startIndex };
  try {
    await Promise.all([
      // In every process: a feed that nobody follows must not fill the database's disk.
      watchFeedRetention({ config, pool: hub.pool, log, signal: stop }),
      ...wanted.map(async (role) => {
        try {
          await start[role](hub, metrics, stop, (now) => health.set(role, now));
        } catch (error) {
          if (stop.aborted) return;
          health.set(role, () => ({ state: 'failed', detail: errorText(error) }));
          failure.abort();
          throw error;
        }
      }),
    ]);
  } finally {
    await operations.close();
  }
  log.info('stopped; everything in flight is finished');
}

async function startIngest(
  hub: Hub,
  metrics: Metrics,
  signal: AbortSignal,
  healthIs: (now: () => Health) => void,
): Promise<void> {
  const { config, log, servers } = hub;
  await using context = await openIngest({ config, postgres: servers.postgres, log, metrics, signal });
  healthIs(() => context.troubles.health());
  await runIngest(context, servers.kafka);
}

async function startIndex(
  hub: Hub,
  metrics: Metrics,
  signal: AbortSignal,
  healthIs: (now: () => Health) => void,
): Promise<void> {
  const troubles = new Troubles(hub.log);
  healthIs(() => troubles.health());
  const { runIndexer } = await import('../indexer/indexer.ts');
  await runIndexer({ ...hub, metrics, troubles, signal });
}
