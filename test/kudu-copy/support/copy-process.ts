import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestCopy, WRITE_MS } from './copies.ts';

const SCRIPT = new URL('./copying.ts', import.meta.url).pathname;
/** A process of its own that keeps the copies of a database in step, and can be killed or frozen; `await using` kills it. */
export interface CopyProcess extends AsyncDisposable {
  log(): string;
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
}

export function copyProcess({ postgres, masters }: TestCopy): CopyProcess {
  const child = spawn(process.execPath, [SCRIPT, postgres, masters.join(','), String(WRITE_MS)], {
    stdio: ['ignore', 'ignore', process.env.IMAGEHUB_TEST_LOG === '1' ? 'inherit' : 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', NODE_NO_WARNINGS: '1' },
  });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  };
  return {
    log: () => log,
    signal: (signal) => void child.kill(signal),
    kill,
    [Symbol.asyncDispose]: kill,
  };
}
