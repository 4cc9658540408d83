import { resolve } from 'node:path';
import { type Config, hidePassword } from '../config.ts';
import { HubError } from '../errors.ts';
import { checkElasticsearch, checkKafka, checkKudu, checkPostgres } from '../stack/check.ts';
import { dockerUp } from '../stack/docker.ts';
import { hostList, locateServers, type Servers } from '../stack/servers.ts';
import { startStack } from '../stack/start.ts';
import type { StackState } from '../stack/state.ts';
import { stopStack } from '../stack/stop.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { note, report } from './output.ts';
import { interruptSignal } from './shutdown.ts';

interface UpOptions {
  detach?: boolean;
  docker?: boolean;
  embedded?: boolean;
  kudu?: boolean;
  json?: boolean;
}

interface UpReport {
  servers: Servers;
  /** Who runs them: this command, one before it, Docker, or somebody else (the settings name them). */
  started: 'now' | 'before' | 'docker' | 'elsewhere';
  /** Folder of data and logs; null where others keep them. */
  home: string | null;
  notes: string[];
}

export const upCommand: RegisterCommand = (program) => {
  program
    .command('up')
    .description('start the local servers (Postgres, Kafka, Elasticsearch), or join those that run already')
    .option('-d, --detach', 'leave them running in the background; imagehub down stops them')
    .option('--embedded', 'Postgres alone: no topic and no search index, everything else works')
    .option('--kudu', 'Kudu too: a master and a tablet server (Linux on x86-64)')
    .option('--docker', 'use docker-compose.yml instead of native processes')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: UpOptions) => {
      const { config } = commandContext();
      if (options.docker && options.embedded) {
        throw new HubError('USAGE', '--docker and --embedded exclude each other.');
      }
      if (options.docker && options.kudu) {
        throw new HubError('USAGE', 'docker-compose.yml has no Kudu: use --kudu without --docker.');
      }
      const signal = interruptSignal();
      if (config.postgresUrl !== undefined) {
        report(options, await checkGiven(config), describe);
      } else if (options.docker) {
        await upWithDocker(config, options, signal);
      } else {
        await upNatively(config, options, signal);
      }
    });
};

async function upNatively(config: Config, options: UpOptions, signal: AbortSignal): Promise<void> {
  await checkNamed(config);
  const stack = await startStack(config, {
    log: note,
    signal,
    ...(options.embedded ? { only: ['postgres'] } : {}),
    ...(options.kudu ? { kudu: true } : {}),
  });
  if (options.detach) await stack.release();
  // What the settings name goes before what runs here, for us as for every command.
  const servers = await locateServers(config);
  report(
    options,
    {
      servers,
      started: stack.joined ? 'before' : 'now',
      home: resolve(config.home),
      notes: [...stack.state.notes, ...fallen(stack.state)],
    },
    describe,
  );
  if (options.detach || stack.joined) return;
  note('Ctrl-C stops them.');
  const interrupted = new Promise<'interrupt'>((done) => {
    signal.addEventListener('abort', () => done('interrupt'), { once: true });
    if (signal.aborted) done('interrupt');
  });
  stack.keepWaiting();
  const end = await Promise.race([stack.ended, interrupted]);
  if (end === 'interrupt') {
    note('Stopping the servers …');
    await stack.stop();
    note('Stopped.');
  } else if (end) {
    note('The servers were stopped (imagehub down).');
  } else {
    throw new HubError('STACK_FAILED', 'The process that keeps the servers was killed; they were stopped.', {
      hint: 'imagehub up starts them again; the data are kept.',
    });
  }
}

async function upWithDocker(config: Config, options: UpOptions, signal: AbortSignal): Promise<void> {
  const state = await dockerUp(config, signal);
  const { servers, notes } = state;
  report(options, { servers: servers!, started: 'docker', home: null, notes }, describe);
  if (options.detach) return;
  note('Ctrl-C stops the containers.');
  await new Promise<void>((done) => {
    // An open timer keeps this process alive; nothing else does.
    const alive = setInterval(() => undefined, 60_000);
    const finish = () => {
      clearInterval(alive);
      done();
    };
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
  });
  await stopStack(config);
}

/** The settings name the servers: nothing is started, but they must answer. */
async function checkGiven(config: Config): Promise<UpReport> {
  const servers = await locateServers(config);
  await checkPostgres(servers.postgres);
  await checkNamed(config);
  const notes = [
    'The settings name these servers; nothing was started, and all of them answer.',
    ...(servers.kafka ? [] : ['No IMAGEHUB_KAFKA_BROKERS: senders feed the pipeline directly.']),
    ...(servers.elasticsearch ? [] : ['No IMAGEHUB_ELASTICSEARCH_URL: there is no search index.']),
  ];
  return { servers: hidePasswords(servers), started: 'elsewhere', home: null, notes };
}

async function checkNamed(config: Config): Promise<void> {
  const brokers = hostList(config.kafkaBrokers);
  if (brokers) await checkKafka(config, brokers);
  if (config.elasticsearchUrl !== undefined) await checkElasticsearch(config, config.elasticsearchUrl);
  const masters = hostList(config.kuduMasters);
  if (masters) await checkKudu(masters);
}

const hidePasswords = (servers: Servers): Servers => ({
  ...servers,
  postgres: hidePassword(servers.postgres),
  elasticsearch: servers.elasticsearch && hidePassword(servers.elasticsearch),
});

const fallen = (state: StackState): string[] =>
  Object.entries(state.processes)
    .filter(([, server]) => server.state === 'stopped')
    .map(([name, { log }]) => `${name} died and stays down (${log}); imagehub down, then up, starts it.`);

function describe({ servers, started, home, notes }: UpReport): string {
  const title = {
    now: 'The servers are up:',
    before: 'The servers run already; this command joins them and leaves them alone:',
    docker: 'The containers are up:',
    elsewhere: 'Servers in use:',
  }[started];
  return [
    title,
    `  Postgres       psql ${servers.postgres}`,
    `  Kafka          ${servers.kafka?.join(',') ?? 'none'}`,
    `  Elasticsearch  ${servers.elasticsearch ?? 'none'}`,
    ...(servers.kudu ? [`  Kudu           ${servers.kudu.join(',')}`] : []),
    ...(home ? [`  data and logs  ${home}`] : []),
    ...notes,
    'Next:',
    '  imagehub dataset create mnist --classes 0..9 --label-from first-character',
    '  imagehub send mnist PATH…    imagehub run',
    started === 'elsewhere' ? '  imagehub status' : '  imagehub status    imagehub down',
  ].join('\n');
}
