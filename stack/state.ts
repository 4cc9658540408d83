import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import type { ServerName } from './definition.ts';
import { type Owned, readOwned } from './lock.ts';
import { isAlive, type ProcessId, stopProcess } from './processes.ts';
import type { Servers } from './servers.ts';

export interface ServerProcess {
  process: ProcessId;
  url: string;
  state: 'starting' | 'running' | 'stopped';
  log: string;
  stopSignals: NodeJS.Signals[];
}

/**
 * What `stack.json` holds while local servers run. The file is also the lock: it exists from the first moment
 * of a start, its owner is the supervisor, and whoever finds the owner dead may take it over.
 */
export interface StackState extends Owned {
  phase: 'starting' | 'running' | 'stopping';
  servers: Servers | null;
  processes: Partial<Record<ServerName, ServerProcess>>;
  /** What is not there, why, and what that means, for people. */
  notes: string[];
  /** The servers run in Docker, which looks after them; there is no supervisor. */
  docker?: true;
}

/** The file that `imagehub up` keeps in its folder while its servers run. */
export const stateFile = (config: Pick<Config, 'home'>): string => join(config.home, 'stack.json');

export const readState = (config: Pick<Config, 'home'>): Promise<StackState | null> =>
  readOwned<StackState>(stateFile(config));

/**
 * Replaces the state in one step. Synchronous, because it records a process in the same instant in which it was
 * started: no interrupt can fall between.
 */
export function writeState(config: Pick<Config, 'home'>, state: StackState): void {
  const file = stateFile(config);
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(state, null, 2), { mode: 0o600 });
  renameSync(`${file}.${process.pid}`, file);
}

/** Whether the local stack is there: its supervisor or at least one of its servers lives, or Docker has it. */
export const stackAlive = (state: StackState): boolean =>
  state.docker === true ||
  isAlive(state.owner) ||
  Object.values(state.processes).some((server) => isAlive(server.process));

/** Ends the servers that a supervisor left behind when it was killed. Resolves to the names of those found alive. */
export async function stopLeftovers(state: StackState): Promise<ServerName[]> {
  const alive = Object.entries(state.processes).filter(([, server]) => isAlive(server.process));
  await Promise.all(alive.map(([, server]) => stopProcess(server.process, server.stopSignals)));
  return alive.map(([name]) => name as ServerName);
}
