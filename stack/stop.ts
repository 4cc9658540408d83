import { rmSync } from 'node:fs';
import type { Config } from '../config.ts';
import { dockerDown } from './docker.ts';
import { stopProcess } from './processes.ts';
import { readState, stackAlive, stateFile, stopLeftovers } from './state.ts';

/** The supervisor gives each server 20 s for each signal before it kills it. */
const STOP_LIMIT_MS = 70_000;

/**
 * Stops the local servers of `config.home`, whoever started them, and resolves when every process is gone.
 * @returns the names of what was running, none when nothing was.
 */
export async function stopStack(config: Pick<Config, 'home'>): Promise<string[]> {
  const state = await readState(config);
  if (!state) return [];
  const running = stackAlive(state);
  if (state.docker) {
    await dockerDown();
  } else {
    await stopProcess(state.owner, ['SIGTERM'], STOP_LIMIT_MS);
    await stopLeftovers(state);
  }
  const now = await readState(config);
  // Between our look and now another `up` may have taken the folder; its file is not ours to remove.
  if (now && now.owner.pid === state.owner.pid) rmSync(stateFile(config), { force: true });
  if (!running) return [];
  return state.docker ? ['docker'] : Object.keys(state.processes);
}
