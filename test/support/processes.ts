import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A folder of one's own; `using` removes it. */
export function temporaryFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'imagehub-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

export interface RunningCommand {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  exit: Promise<number | NodeJS.Signals | null>;
}

/** Runs `imagehub …` with this environment on top of ours (undefined unsets), as a person would. */
export function imagehub(args: string[], env: NodeJS.ProcessEnv = {}): RunningCommand {
  const child = spawn(process.execPath, ['bin/imagehub.js', ...args], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const exit = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  );
  return { child, stdout: () => output.stdout, stderr: () => output.stderr, exit };
}

/** Every living process that was started with IMAGEHUB_HOME=<home>, directly or through others. */
export function processesOf(home: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (/^\d+ \(.*\) [ZX] /s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) continue;
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
      // Postgres overwrites its environment with its title; its command line names the folder.
      if (environment.includes(`IMAGEHUB_HOME=${home}`) || command.includes(`${home}/`)) {
        found.push(`${pid} ${command}`);
      }
    } catch {
      // Gone meanwhile.
    }
  }
  return found;
}

/** Polls until `condition` holds; throws what it was waiting for after `limitMs`. */
export async function waitFor(what: string, condition: () => unknown, limitMs = 180_000): Promise<void> {
  for (const deadline = Date.now() + limitMs; !(await condition()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error(`Waited ${limitMs / 1000} s in vain: ${what}`);
  }
}
