import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { residentMib } from './memory.ts';

export const LOOK_EVERY_MS = 5;

/** Between what a child has in memory when it has loaded everything (150 MiB) and amid `slowImage`. */
const BUSY_FROM_MIB = 300;

/** Process ids of the children, of this process or another, that decode in isolation now, or run another file. */
export function isolatedChildren(file = 'isolated-child', parent = process.pid): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const of = /\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
        return Number(of) === parent && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(file);
      } catch {
        return false; // gone meanwhile
      }
    })
    .map(Number);
}

/** Amid `slowImage`. */
export const isBusy = (pid: number): boolean => residentMib(pid) > BUSY_FROM_MIB;

/** Sends the signals to each new isolated child, up to so often, as soon as it is in that state. */
export async function signalChildren(
  signals: NodeJS.Signals[],
  times: number,
  inState: (pid: number) => boolean,
  parent = process.pid,
): Promise<void> {
  const signalled = new Set<number>();
  while (signalled.size < times) {
    for (const pid of isolatedChildren('isolated-child', parent)) {
      if (signalled.has(pid) || !inState(pid)) continue;
      signalled.add(pid);
      for (const signal of signals) process.kill(pid, signal);
    }
    await sleep(LOOK_EVERY_MS);
  }
}
