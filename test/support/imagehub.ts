import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { testServers } from './servers.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface RunningCommand {
  /** Sends Ctrl-C. */
  interrupt(): void;
  /** Ends it with no chance to do anything. */
  kill(): void;
  /** As a machine that sleeps, until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** Resolves once standard error holds this text. */
  says(text: string): Promise<void>;
  /** Standard error so far. */
  stderr(): string;
  ended: Promise<CommandResult>;
}

export interface ImagehubOptions {
  /** Settings beside the test servers'. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Standard input. */
  input?: string;
}

/** Starts the command line on the test servers (Kafka, and the database that `env` names). */
export function startImagehub(args: string[], { env, cwd, input }: ImagehubOptions = {}): RunningCommand {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd,
    env: {
      ...process.env,
      // Asked only then: on a machine without a JDK there is none.
      IMAGEHUB_KAFKA_BROKERS: env?.IMAGEHUB_KAFKA_BROKERS ?? testServers().kafka.join(','),
      NODE_NO_WARNINGS: '1',
      ...env,
    },
  });
  const result: CommandResult = { status: null, stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => (result.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    result.stderr += text;
    for (const listener of listeners) listener();
  });
  child.stdin.end(input ?? '');
  const ended = new Promise<CommandResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ ...result, status }));
  });
  return {
    interrupt: () => void child.kill('SIGINT'),
    kill: () => void child.kill('SIGKILL'),
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    ended,
    stderr: () => result.stderr,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = () => void (result.stderr.includes(text) && resolve());
        listeners.add(look);
        look();
        void ended.then(({ stderr }) => reject(new Error(`It ended without saying “${text}”:\n${stderr}`)));
      }),
  };
}

/** Runs the command line to its end. */
export const imagehub = (args: string[], options?: ImagehubOptions): Promise<CommandResult> =>
  startImagehub(args, options).ended;
