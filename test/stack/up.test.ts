import { afterEach, expect, jest, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPool } from '../../sql/database.ts';
import { identify, isAlive } from '../../stack/processes.ts';
import type { StackState } from '../../stack/state.ts';
import { stopStack } from '../../stack/stop.ts';
import { quietKafka } from '../support/kafka.ts';
import { imagehub, processesOf, temporaryFolder, waitFor } from '../support/processes.ts';
import { testServers } from '../support/servers.ts';
import { onServer } from '../support/template.ts';

/** Servers of these tests take any free ports and a folder of their own; nothing of the run's stack leaks in. */
let home = '';
let folder: Disposable | undefined;
const env = (): NodeJS.ProcessEnv => ({
  IMAGEHUB_HOME: home,
  IMAGEHUB_POSTGRES_PORT: '0',
  IMAGEHUB_KAFKA_PORT: '0',
  IMAGEHUB_ELASTICSEARCH_PORT: '0',
});
const newHome = () => {
  const made = temporaryFolder();
  folder = made;
  home = made.path;
};
const run = async (...args: string[]) => {
  const command = imagehub(args, env());
  const status = await command.exit;
  return { status, stdout: command.stdout(), stderr: command.stderr() };
};
const json = async <T>(...args: string[]) => JSON.parse((await run(...args, '--json')).stdout) as T;
const state = () => JSON.parse(readFileSync(join(home, 'stack.json'), 'utf8')) as StackState;
const isUp = () => {
  try {
    return state().phase === 'running';
  } catch {
    return false;
  }
};
type Status = Record<string, { url: string | null; state: string }>;

afterEach(async () => {
  if (!home) return;
  await stopStack({ home });
  const left = processesOf(home);
  folder?.[Symbol.dispose]();
  home = '';
  expect(left).toEqual([]);
});

/** JVMs start and stop again and again here. */
jest.setTimeout(900_000);

test('up starts all three servers, a second up joins them, down ends every process, and the data are there after the next up', async () => {
  newHome();
  const up = await run('up', '--detach');
  expect(up).toMatchObject({ status: 0 });
  expect(up.stdout).toMatch(/psql postgresql:\/\/imagehub:.+@127\.0\.0\.1:\d+\/imagehub/);

  const again = await json<{ started: string; servers: { postgres: string } }>('up');
  expect(again.started).toBe('before');
  const status = await json<Status>('status');
  expect(status).toEqual({
    postgres: { url: again.servers.postgres, state: 'running' },
    kafka: { url: expect.stringMatching(/^127\.0\.0\.1:\d+$/), state: 'running' },
    elasticsearch: { url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), state: 'running' },
    kudu: { url: null, state: 'not started' },
  });

  const put = await keepSomething(status);
  expect(await json('down')).toEqual({ stopped: expect.arrayContaining(['postgres', 'kafka']), home });
  expect(processesOf(home)).toEqual([]);
  expect((await json<Status>('status')).kafka).toEqual({ url: null, state: 'stopped' });

  expect(await run('up', '--detach')).toMatchObject({ status: 0 });
  expect(await findKept(await json<Status>('status'))).toEqual(put);
});

async function keepSomething({ postgres, kafka, elasticsearch }: Status) {
  await onServer(postgres!.url!, 'create table kept as select 7 as n');
  const admin = quietKafka([kafka!.url!]).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 3 }] });
  await admin.disconnect();
  const answer = await fetch(`${elasticsearch!.url}/kept`, { method: 'PUT' });
  expect(answer.status).toBe(200);
  return { rows: [{ n: 7 }], partitions: 3, index: 200 };
}

async function findKept({ postgres, kafka, elasticsearch }: Status) {
  await using pool = openPool(postgres!.url!);
  const { rows } = await pool.query('select n from kept');
  const admin = quietKafka([kafka!.url!]).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: ['kept'] });
  await admin.disconnect();
  const { status } = await fetch(`${elasticsearch!.url}/kept`);
  return { rows, partitions: topics[0]!.partitions.length, index: status };
}

test.each([150, 600, 1200, 2500, 4500])(
  'an up that is interrupted after %d ms leaves no process and no state behind',
  async (delay) => {
    newHome();
    const up = imagehub(['up'], env());
    await sleep(delay);
    up.child.kill('SIGINT');
    await up.exit;
    expect(processesOf(home)).toEqual([]);
    expect(isUp()).toBe(false);
  },
);

test('an up that is interrupted while Maven downloads leaves no process and no half-filled cache', async () => {
  newHome();
  const cache = join(home, 'cache');
  const up = imagehub(['up'], { ...env(), IMAGEHUB_CACHE: cache });
  await waitFor('Maven to run', () => processesOf(home).some((line) => line.includes('copy-dependencies')));
  up.child.kill('SIGINT');
  await up.exit;
  expect(up.stderr()).toContain('Downloading');
  expect(processesOf(home)).toEqual([]);
  expect(readdirSync(cache)).toEqual([]);
});

test('Ctrl-C on a terminal, which hits npm, the launcher and the command at once, stops the servers in order', async () => {
  newHome();
  const npm = spawn('npm', ['run', 'imagehub', '--', 'up', '--embedded'], {
    env: { ...process.env, ...env() },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let said = '';
  npm.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  await waitFor('the stack to be up', () => said.includes('Ctrl-C stops them'));
  process.kill(-npm.pid!, 'SIGINT');
  await waitFor('every process to be gone', () => processesOf(home).length === 0);
  expect(readFileSync(join(home, 'logs', 'postgres.log'), 'utf8')).toContain('database system is shut down');
});

test('a first up that is interrupted in the middle of initdb can be repeated', async () => {
  newHome();
  const up = imagehub(['up', '--embedded'], env());
  await waitFor('initdb', () => processesOf(home).some((line) => line.includes('initdb')));
  up.child.kill('SIGTERM');
  expect(await up.exit).toBe(130);
  expect(up.stderr()).toContain('Interrupted');
  expect(processesOf(home)).toEqual([]);
  expect(await run('up', '--embedded', '--detach')).toMatchObject({ status: 0 });
});

test('killing a foreground up with SIGKILL takes its servers with it, while they start and when they run', async () => {
  newHome();
  const starting = imagehub(['up'], env());
  await waitFor('a server to be started', () => processesOf(home).length >= 3);
  starting.child.kill('SIGKILL');
  await waitFor('the servers to be gone', () => processesOf(home).length === 0);

  const running = imagehub(['up', '--embedded'], env());
  await waitFor('the stack to be up', isUp);
  running.child.kill('SIGKILL');
  await waitFor('the servers to be gone', () => processesOf(home).length === 0);
});

test('down in another terminal ends a foreground up in good order', async () => {
  newHome();
  const up = imagehub(['up', '--embedded'], env());
  await waitFor('the stack to be up', isUp);
  expect(await run('down')).toMatchObject({ status: 0, stdout: expect.stringContaining('Stopped postgres') });
  expect(await up.exit).toBe(0);
  expect(up.stderr()).toContain('stopped (imagehub down)');
});

test('two ups at the same time make one stack', async () => {
  newHome();
  const both = await Promise.all([1, 2].map(() => json<{ started: string }>('up', '--embedded', '--detach')));
  expect(both.map(({ started }) => started).sort()).toEqual(['before', 'now']);
  expect(processesOf(home).filter((line) => / -D /.test(line))).toHaveLength(1);
});

test('servers whose supervisor was killed are found and ended by down, and replaced by up', async () => {
  newHome();
  await run('up', '--embedded', '--detach');
  const first = state();
  process.kill(first.owner.pid, 'SIGKILL');
  await waitFor('the supervisor to be gone', () => !isAlive(first.owner));
  expect(isAlive(first.processes.postgres!.process)).toBe(true);
  expect(await json('down')).toEqual({ stopped: ['postgres'], home });
  expect(isAlive(first.processes.postgres!.process)).toBe(false);

  await run('up', '--embedded', '--detach');
  const second = state();
  process.kill(second.owner.pid, 'SIGKILL');
  const up = await run('up', '--embedded', '--detach');
  expect(up).toMatchObject({ status: 0, stderr: expect.stringContaining('left behind: postgres') });
  expect(isAlive(second.processes.postgres!.process)).toBe(false);
});

test('a stale state file never makes down or up touch a process that only has the same number', async () => {
  newHome();
  // This very process, seen as if it had started at another time.
  const reused = { ...identify(process.pid), startedAt: 'before the reboot' };
  const stale: StackState = {
    owner: reused,
    phase: 'running',
    servers: { postgres: 'postgresql://gone', kafka: null, elasticsearch: null, kudu: null },
    processes: {
      postgres: {
        process: reused,
        url: 'postgresql://gone',
        state: 'running',
        log: '',
        stopSignals: ['SIGKILL'],
      },
    },
    notes: [],
  };
  writeFileSync(join(home, 'stack.json'), JSON.stringify(stale));
  expect((await json<Status>('status')).postgres).toEqual({ url: null, state: 'stopped' });
  expect(await run('up', '--embedded', '--detach')).toMatchObject({ status: 0 });
  expect((await json<Status>('status')).postgres).toMatchObject({ state: 'running' });
});

test('a server that dies is started again where it was, with its data', async () => {
  newHome();
  await run('up', '--embedded', '--detach');
  const before = state().processes.postgres!;
  process.kill(before.process.pid, 'SIGKILL');
  await waitFor('Postgres to be started again', () => {
    const now = state().processes.postgres!;
    return now.process.pid !== before.process.pid && now.state === 'running';
  });
  expect((await json<Status>('status')).postgres).toEqual({ url: before.url, state: 'running' });
});

test('a server that cannot start says why with the end of its log, and nothing is left running', async () => {
  newHome();
  await mkdir(join(home, 'postgres', 'data'), { recursive: true });
  writeFileSync(join(home, 'postgres', 'data', 'PG_VERSION'), '9\n');
  writeFileSync(join(home, 'postgres', 'password'), 'x\n');
  const up = await run('up', '--embedded');
  expect(up.status).toBe(1);
  expect(up.stderr).toMatch(/Postgres 18 ended while it was starting/);
  expect(up.stderr).toContain('postgres: could not access the server configuration file');
  expect(up.stderr).toContain(join(home, 'logs', 'postgres.log'));
  expect(processesOf(home)).toEqual([]);
});

test('when the usual port is taken the server gets another one', async () => {
  newHome();
  const taken = createServer();
  const port = await new Promise<number>((resolve) =>
    taken.listen(0, '127.0.0.1', () => resolve((taken.address() as { port: number }).port)),
  );
  try {
    const command = imagehub(['up', '--embedded', '--detach', '--json'], {
      ...env(),
      IMAGEHUB_POSTGRES_PORT: String(port),
    });
    expect(await command.exit).toBe(0);
    const { servers } = JSON.parse(command.stdout()) as { servers: { postgres: string } };
    expect(Number(new URL(servers.postgres).port)).not.toBe(port);
  } finally {
    taken.close();
  }
});

test('without Java, up starts Postgres alone and says what that means', async () => {
  newHome();
  const command = imagehub(['up', '--detach'], { ...env(), JAVA_HOME: '/nonexistent' });
  expect(await command.exit).toBe(0);
  expect(command.stdout()).toMatch(/Java is not installed .*\n.*senders feed the pipeline directly/);
  const status = await json<Status>('status');
  expect(status.postgres!.state).toBe('running');
  expect(status.kafka).toEqual({ url: null, state: 'not configured' });
});

test('with servers named in the settings nothing is started, and they must answer', async () => {
  newHome();
  const { postgres, kafka, elasticsearch } = testServers();
  const given = {
    ...env(),
    IMAGEHUB_POSTGRES_URL: postgres,
    IMAGEHUB_KAFKA_BROKERS: kafka.join(','),
    IMAGEHUB_ELASTICSEARCH_URL: elasticsearch,
  };
  const good = imagehub(['up'], given);
  expect(await good.exit).toBe(0);
  expect(good.stdout()).toContain('nothing was started');
  expect(processesOf(home)).toEqual([]);

  const wrong = new URL(postgres);
  wrong.password = 'wrong';
  const denied = imagehub(['up'], { ...given, IMAGEHUB_POSTGRES_URL: wrong.href });
  expect(await denied.exit).toBe(1);
  expect(denied.stderr()).toMatch(/refused the user or password/);
  expect(denied.stderr()).not.toContain('wrong@');

  const nobody = imagehub(['up'], { ...given, IMAGEHUB_KAFKA_BROKERS: '127.0.0.1:1' });
  expect(await nobody.exit).toBe(1);
  expect(nobody.stderr()).toMatch(/Kafka at 127\.0\.0\.1:1 cannot be reached/);
});
