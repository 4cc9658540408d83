import { Argument } from 'commander';
import { type Health, startOperationsServer } from '../console/operations-server.ts';
import { watchDrift } from '../classifier/drift/watch.ts';
import { tooManyHang } from '../classifier/hanging-threads.ts';
import { errorText } from '../errors.ts';
import { watchFeedRetention } from '../indexer/retention.ts';
import { openIngest } from '../ingest/open-ingest.ts';
import { runIngest } from '../ingest/run-ingest.ts';
import { createMetrics, type Metrics } from '../metrics.ts';
import { startBackgroundRun } from '../stack/background-run.ts';
import { Troubles } from '../troubles.ts';
import { type CommandContext, commandContext, type RegisterCommand } from './command.ts';
import { devicesHere } from './devices.ts';
import { type Hub, openHub } from './hub.ts';
import { note } from './output.ts';
import { interruptSignal, limitShutdown } from './shutdown.ts';

const ROLES = ['ingest', 'index', 'worker', 'copy'] as const;
type Role = (typeof ROLES)[number];

export const runCommand: RegisterCommand = (program) => {
  program
    .command('run')
    .description(
      'run the pipeline until interrupted: ingest topics into the table, keep the index and copies in step, work on jobs',
    )
    .addArgument(
      new Argument('[roles...]', 'only these parts (default: all that have a server)').choices(ROLES),
    )
    .addHelpText(
      'after',
      '\nThe first interrupt finishes the batches in flight (within IMAGEHUB_SHUTDOWN_TIMEOUT_MS), the second stops at once;' +
        '\nnothing is lost either way.' +
        '\nAny number of processes may run: they share the partitions of the topics, and the parts of jobs.',
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
      await run(commandContext(), roles);
    });
};

type Parts = Map<string, () => Health>;

/** Answers on /healthz and /readyz from the first moment on, then connects and runs the roles. */
async function run(context: CommandContext, roles: Role[]): Promise<void> {
  const { config, log } = context;
  const metrics = createMetrics();
  const parts: Parts = new Map([['database', () => CONNECTING]]);
  let signal: AbortSignal | undefined;
  const health = () =>
    Object.fromEntries([...parts].map(([part, now]) => [part, signal?.aborted ? stopping(now()) : now()]));
  const operations = await startOperationsServer(config, metrics, health, log);
  try {
    // An interrupt ends it at once until here: nothing is in flight yet.
    await using hub = await openHub(context);
    signal = interruptSignal();
    limitShutdown(signal, config, log, health);
    parts.clear();
    const wanted = roles.length > 0 ? roles : ROLES.filter((role) => hasServer(role, hub));
    log.info({ roles: wanted, metrics: `${operations.url}/metrics` }, 'imagehub runs');
    await runRoles(hub, wanted, { metrics, parts, signal });
  } finally {
    await operations.close();
  }
  log.info('stopped; everything in flight is finished');
}

/** Whether what the role keeps in step is known here. */
const hasServer = (role: Role, { servers }: Hub): boolean =>
  (role !== 'index' || servers.elasticsearch !== null) && (role !== 'copy' || servers.kudu !== null);

const CONNECTING: Health = {
  state: 'starting',
  detail: 'connecting to the database and bringing its schema up to date',
};

function stopping({ state, detail }: Health): Health {
  if (state === 'failed') return { state, ...(detail !== undefined && { detail }) };
  const finishing = 'finishing what is in flight';
  return { state: 'stopping', detail: state === 'ok' ? finishing : `${finishing}; ${detail}` };
}

/** The work goes on, but a liveness probe is to have this process started anew. */
function withThreads(health: Health): Health {
  const detail = tooManyHang();
  return detail === null ? health : { state: 'failed', detail };
}

interface RoleOptions {
  metrics: Metrics;
  /** Where each role says how it is. */
  parts: Parts;
  signal: AbortSignal;
}

/** Runs the roles side by side until the signal is aborted. A role that fails for good ends the others too. */
async function runRoles(hub: Hub, roles: Role[], { metrics, parts, signal }: RoleOptions): Promise<void> {
  const { config, servers, log } = hub;
  if (!servers.kafka) log.info('no Kafka here: senders bring their images themselves (embedded mode)');
  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);
  const start = { ingest: startIngest, index: startIndex, worker: startWorker, copy: startCopy };
  for (const role of roles) parts.set(role, () => ({ state: 'starting' }));
  await Promise.all([
    // In every process: a feed that nobody follows must not fill the database's disk.
    watchFeedRetention({ config, pool: hub.pool, log, signal: stop }),
    // In every process: a hub of any roles watches for drift; they share the checks.
    watchDrift({ pool: hub.pool, stores: hub.stores, log, metrics, signal: stop }),
    ...roles.map(async (role) => {
      try {
        await start[role](hub, metrics, stop, (now) => parts.set(role, now));
      } catch (error) {
        if (stop.aborted) return;
        parts.set(role, () => ({ state: 'failed', detail: errorText(error) }));
        failure.abort();
        throw error;
      }
    }),
  ]);
}

/** Runs a role until the signal is aborted. */
type StartRole = (
  hub: Hub,
  metrics: Metrics,
  signal: AbortSignal,
  healthIs: (now: () => Health) => void,
) => Promise<void>;

/** What the role waits for, which is how it says that it is. */
function troublesOf({ log }: Hub, healthIs: Parameters<StartRole>[3]): Troubles {
  const troubles = new Troubles(log);
  healthIs(() => troubles.health());
  return troubles;
}

const startIngest: StartRole = async (hub, metrics, signal, healthIs) => {
  const { config, log, servers } = hub;
  await using context = await openIngest({ config, ...servers, log, metrics, signal });
  healthIs(() => withThreads(context.troubles.health()));
  await runIngest(context, servers.kafka);
};

const startIndex: StartRole = async (hub, metrics, signal, healthIs) => {
  const troubles = troublesOf(hub, healthIs);
  const { runIndexer } = await import('../indexer/indexer.ts');
  await runIndexer({ ...hub, metrics, troubles, signal });
};

const startCopy: StartRole = async (hub, metrics, signal, healthIs) => {
  const troubles = troublesOf(hub, healthIs);
  const { runCopies } = await import('../kudu-copy/run-copies.ts');
  await runCopies({ ...hub, metrics, troubles, signal });
};

/** Takes parts of jobs, and starts what is scheduled. */
const startWorker: StartRole = async (hub, metrics, signal, healthIs) => {
  const { pool, stores, config, log, servers } = hub;
  const troubles = new Troubles(log);
  healthIs(() => withThreads(troubles.health()));
  const { runWorker } = await import('../jobs/worker.ts');
  const { runSchedules } = await import('../jobs/scheduler.ts');
  const { findKind } = await import('./job-kinds.ts');
  const { parseJobCommand } = await import('./job-command.ts');
  await runWorker({
    pool,
    stores,
    config,
    log,
    metrics,
    troubles,
    signal,
    postgres: servers.postgres,
    kinds: findKind,
    devices: await devicesHere(hub),
    beside: (worker, dispatcher) =>
      runSchedules({ pool, stores, config, log, dispatcher, worker, parse: parseJobCommand }),
  });
};
