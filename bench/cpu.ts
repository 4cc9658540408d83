import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts processor time for programs in hundredths of a second, on every machine (USER_HZ). */
const TICK_US = 10_000;

/** Fields of /proc/PID/stat after the command: proc_pid_stat(5) 4 (parent) and 14–17 (user, system, and of children). */
const PARENT = 1;
const TIMES = [11, 12, 13, 14];

interface ProcessTime {
  parent: number;
  /** Its own processor time and that of children that ended and were waited for, µs. */
  us: number;
}

function readAll(): Map<number, ProcessTime> {
  const all = new Map<number, ProcessTime>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      const ticks = TIMES.reduce((sum, field) => sum + Number(fields[field]), 0);
      all.set(Number(name), { parent: Number(fields[PARENT]), us: ticks * TICK_US });
    } catch {
      // It ended while we were reading.
    }
  }
  return all;
}

function ofTree(all: Map<number, ProcessTime>, root: number): number {
  let us = 0;
  for (const [pid, time] of all) {
    let ancestor: number | undefined = pid;
    while (ancestor !== undefined && ancestor !== root) ancestor = all.get(ancestor)?.parent;
    if (ancestor === root) us += time.us;
  }
  return us;
}

/** Processes by what they are called; each stands for all that it started too. */
export type Watched<K extends string> = Record<K, number>;

/**
 * Counts processor time from now on. @returns a function that says how many µs each has taken since; NaN where the
 * system does not tell (all but Linux).
 */
export function watchProcessors<K extends string>(roots: Watched<K>): () => Record<K, number> {
  const now = () => {
    const all = process.platform === 'linux' ? readAll() : null;
    const entries = (Object.entries(roots) as [K, number][]).map(
      ([name, pid]) => [name, all ? ofTree(all, pid) : NaN] as const,
    );
    return Object.fromEntries(entries) as Record<K, number>;
  };
  const before = now();
  return () => {
    const after = now();
    for (const name of Object.keys(roots) as K[]) after[name] -= before[name];
    return after;
  };
}
