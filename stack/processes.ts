import { type ChildProcess, execFileSync, spawn, type SpawnOptions } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';

/** A process that cannot be mistaken for a later one with the same number: pid and when it started. */
export interface ProcessId {
  pid: number;
  startedAt: string;
}

/**
 * When the process with this pid started, as an opaque text that differs after pid reuse or a reboot; null when
 * there is no such process (a zombie that nobody has reaped counts as gone).
 */
export function startTime(pid: number): string | null {
  if (process.platform === 'linux') {
    try {
      // proc_pid_stat(5): after the command in parentheses come state (field 3) and, as field 22, the start in clock ticks.
      const [state, ...fields] = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      return state === 'Z' || state === 'X' ? null : `${boot}/${fields[18]}`;
    } catch {
      return null;
    }
  }
  try {
    const [state, ...started] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .trim()
      .split(/\s+/);
    return !state || state.startsWith('Z') ? null : started.join(' ');
  } catch {
    return null;
  }
}

/** The identity of a running process. */
export function identify(pid: number): ProcessId {
  return { pid, startedAt: startTime(pid) ?? 'gone' };
}

export const isAlive = ({ pid, startedAt }: ProcessId): boolean => startTime(pid) === startedAt;

/**
 * Asks a process to stop with each signal in turn, waiting up to `patienceMs` after each, and ends with SIGKILL.
 * Resolves when it is gone; a process that is gone already, or whose pid now belongs to another, is left alone.
 */
export async function stopProcess(
  id: ProcessId,
  signals: NodeJS.Signals[] = ['SIGTERM'],
  patienceMs = 20_000,
): Promise<void> {
  for (const signal of [...signals, 'SIGKILL'] as const) {
    if (!isAlive(id)) return;
    try {
      process.kill(id.pid, signal);
    } catch (cause) {
      if (!isAlive(id)) return;
      throw new HubError('ACCESS_DENIED', `Process ${id.pid} cannot be stopped: ${errorText(cause)}`, {
        hint: 'It belongs to another user: stop it as that user, or as root.',
        cause,
      });
    }
    for (const deadline = Date.now() + patienceMs; isAlive(id) && Date.now() < deadline;) await sleep(25);
  }
  if (isAlive(id)) {
    throw new HubError('STACK_FAILED', `Process ${id.pid} does not end, not even with SIGKILL.`, {
      hint: 'It hangs in the kernel, on a disk or network mount that does not answer.',
    });
  }
}

export interface ToolOptions extends Pick<SpawnOptions, 'uid' | 'gid' | 'env' | 'cwd'> {
  signal?: AbortSignal | undefined;
}

/** Most of a tool's output that is kept for its error message, in characters. */
const KEPT_OUTPUT = 20_000;

/**
 * Runs a program to its end and returns its standard output. It gets a process group of its own, so that a
 * terminal's Ctrl-C does not hit it; when `signal` aborts, the whole group is ended and waited for.
 * @throws HubError STACK_FAILED with the end of its output; INTERRUPTED.
 */
export async function runTool(file: string, args: string[], options: ToolOptions = {}): Promise<string> {
  const { signal, ...rest } = options;
  if (signal?.aborted) throw interrupted();
  const child = spawn(file, args, { ...rest, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', both: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
    output.both = (output.both + text).slice(-KEPT_OUTPUT);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.both = (output.both + text).slice(-KEPT_OUTPUT);
  });
  const killGroup = () => killQuietly(-child.pid!, 'SIGKILL');
  signal?.addEventListener('abort', killGroup, { once: true });
  try {
    const code = await ended(child);
    if (signal?.aborted) throw interrupted();
    if (code !== 0) {
      throw new HubError('STACK_FAILED', `${file} failed (${code}):\n${lastLines(output.both, 20)}`);
    }
    return output.stdout;
  } finally {
    signal?.removeEventListener('abort', killGroup);
  }
}

export const interrupted = (): HubError => new HubError('INTERRUPTED', 'Interrupted.');

/** Exit code or signal name, once the process is gone and its output is read. */
function ended(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(
        new HubError('STACK_FAILED', `Cannot run ${child.spawnfile}: ${error.message}`, { cause: error }),
      ),
    );
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
}

function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

export const lastLines = (text: string, count: number): string =>
  text.trimEnd().split('\n').slice(-count).join('\n');
