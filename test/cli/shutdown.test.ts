import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';

const module = JSON.stringify(new URL('../../cli/shutdown.ts', import.meta.url).href);

/** A program with a thread that is in native code for half a minute, and which says when it is told to stop. */
const BUSY = `
  import { Worker } from 'node:worker_threads';
  import { interruptSignal } from ${module};
  interruptSignal().addEventListener('abort', () => console.log('stopping'));
  const thread = new Worker(
    "import { parentPort } from 'node:worker_threads';" +
      "import { pbkdf2Sync } from 'node:crypto';" +
      "parentPort.postMessage('busy'); pbkdf2Sync('', '', 60_000_000, 64, 'sha512');",
    { eval: true },
  );
  thread.once('message', () => console.log('busy'));
`;

test('a second interrupt ends the process at once, even while a thread hangs in native code', async () => {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', BUSY],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } },
  );
  try {
    const lines = createInterface({ input: child.stdout });
    await once(lines, 'line');
    child.kill('SIGTERM');
    await once(lines, 'line');
    await sleep(500); // Else the two count as one.
    const began = Date.now();
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect(Date.now() - began).toBeLessThan(20_000);
    expect({ status: child.exitCode, signal: child.signalCode }).toEqual({ status: null, signal: 'SIGKILL' });
  } finally {
    child.kill('SIGKILL');
  }
});
