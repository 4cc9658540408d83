import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

/** In a process of its own: the threads of the test runner must not count. */
const SCRIPT = `
  import { once } from 'node:events';
  import { Worker } from 'node:worker_threads';
  import { countThreadRestarts } from ${JSON.stringify(new URL('../../ingest/thread-restarts.ts', import.meta.url).href)};
  let restarts = 0;
  const stop = countThreadRestarts({ inc: () => restarts++ });
  const thread = (code, limits) =>
    new Worker(code, { eval: true, resourceLimits: limits }).on('error', () => undefined);
  const end = (worker) => new Promise((resolve) => worker.once('exit', resolve));
  await end(thread('process.exit(1)'));
  await end(thread('const all = []; for (;;) all.push(new Array(1e5).fill({}))', { maxOldGenerationSizeMb: 16 }));
  const idle = thread('setInterval(() => {}, 1000)');
  await once(idle, 'online');
  const before = restarts;
  stop();
  await idle.terminate();
  console.log(JSON.stringify({ before, after: restarts }));
`;

test('threads that end by themselves are counted, those that are ended on purpose are not', async () => {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', SCRIPT];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  expect(JSON.parse(stdout)).toEqual({ before: 2, after: 2 });
});
