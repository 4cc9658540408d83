import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { DemoSummary } from '../../demo/summary.ts';
import { stopStack } from '../../stack/stop.ts';
import { imagehub, processesOf, temporaryFolder, waitFor } from '../support/processes.ts';

let folder: ReturnType<typeof temporaryFolder>;

beforeEach(() => void (folder = temporaryFolder()));

afterEach(async () => {
  await stopStack({ home: folder.path });
  folder[Symbol.dispose]();
});

/** `npm run demo -- ARGS` on any free ports; nothing of the run's stack leaks in. */
function startDemo(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, ['demo/main.ts', ...args], {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      IMAGEHUB_HOME: folder.path,
      IMAGEHUB_POSTGRES_PORT: '0',
      IMAGEHUB_KAFKA_PORT: '0',
      IMAGEHUB_ELASTICSEARCH_PORT: '0',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, output, ended };
}

/** A PATH with every program of this machine but these. */
function pathWithout(...programs: string[]): string {
  const bin = join(folder.path, 'path');
  mkdirSync(bin);
  for (const from of process.env.PATH!.split(delimiter).filter((path) => existsSync(path))) {
    for (const name of readdirSync(from)) {
      if (!programs.includes(name) && !existsSync(join(bin, name)))
        symlinkSync(join(from, name), join(bin, name));
    }
  }
  return bin;
}

const sum = (counts: DemoSummary['predictions']) => counts.reduce((total, { count }) => total + count, 0);

test('the demo streams 10,000 digits through Kafka, classifies those it never saw rightly, indexes all, and stops everything', async () => {
  const { output, ended } = startDemo(['--json']);
  expect([await ended, output.stderr]).toEqual([0, expect.stringContaining('Apply')]);
  const summary = JSON.parse(output.stdout) as DemoSummary;
  expect(summary).toMatchObject({
    servers: { kafka: [expect.any(String)], elasticsearch: expect.any(String) },
    images: 10_000,
    rows: 10_000,
    deadLetters: 0,
    consistent: true,
    documents: 10_000,
  });
  expect(summary.accuracyUnseen).toBeGreaterThan(0.95);
  expect(summary.predictions.map(({ prediction }) => prediction)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(sum(summary.predictions)).toBe(10_000);
  expect(processesOf(folder.path)).toEqual([]);
}, 1_200_000);

test('without Java and Maven the demo does the same with Postgres alone', async () => {
  const { output, ended } = startDemo(['--json'], {
    JAVA_HOME: undefined,
    PATH: pathWithout('java', 'javac', 'mvn'),
  });
  expect([await ended, output.stderr]).toEqual([0, expect.stringContaining('Java is not installed')]);
  const summary = JSON.parse(output.stdout) as DemoSummary;
  expect(summary).toMatchObject({
    servers: { kafka: null, elasticsearch: null },
    rows: 10_000,
    deadLetters: 0,
    consistent: true,
    documents: null,
  });
  expect(summary.accuracyUnseen).toBeGreaterThan(0.95);
  expect(sum(summary.predictions)).toBe(10_000);
  expect(processesOf(folder.path)).toEqual([]);
}, 1_200_000);

test('a demo that is interrupted stops everything in order, and one that is killed leaves no process behind', async () => {
  const embedded = { JAVA_HOME: '/nonexistent' };
  const interrupted = startDemo([], embedded);
  await waitFor('training', () => interrupted.output.stderr.includes('Train'));
  interrupted.child.kill('SIGINT');
  expect(await interrupted.ended).toBe(130);
  expect(interrupted.output.stderr).toContain('Interrupted; stopping');
  expect(processesOf(folder.path)).toEqual([]);

  const killed = startDemo([], embedded);
  await waitFor('training', () => killed.output.stderr.includes('Train'));
  killed.child.kill('SIGKILL');
  await waitFor('its processes to be gone', () => processesOf(folder.path).length === 0);
}, 1_200_000);

test('the demo replaces its own dataset, and touches no other of that name', async () => {
  const env = { JAVA_HOME: '/nonexistent' };
  const hub = (...args: string[]) =>
    imagehub(args, { ...env, IMAGEHUB_HOME: folder.path, IMAGEHUB_POSTGRES_PORT: '0' }).exit;
  expect(await hub('up', '--embedded', '--detach')).toBe(0);
  expect(await hub('dataset', 'create', 'mnist', '--classes', 'ant,bee')).toBe(0);
  const refused = startDemo([], env);
  expect(await refused.ended).toBe(1);
  expect(refused.output.stderr).toContain('a dataset mnist here that the demo did not make');
  expect(await hub('dataset', 'show', 'mnist')).toBe(0);

  expect(await hub('dataset', 'drop', 'mnist', '--yes')).toBe(0);
  for (const again of [startDemo, startDemo]) {
    const { output, ended } = again(['--json'], env);
    expect([await ended, output.stderr]).toEqual([0, expect.stringContaining('All of them run already')]);
    expect(JSON.parse(output.stdout)).toMatchObject({ rows: 10_000, consistent: true });
  }
}, 1_200_000);
