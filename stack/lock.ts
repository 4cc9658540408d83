import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, interrupted, isAlive, type ProcessId } from './processes.ts';

/** What a lock file holds at least: who holds it. */
export interface Owned {
  owner: ProcessId;
}

export const self = (): ProcessId => identify(process.pid);

/**
 * Creates `file` with `content` if no living process holds it: `link` of a finished file is atomic, so a reader
 * never sees half of one. A file whose owner is gone (crash, reboot, its pid now another process's) is replaced.
 * @returns what was replaced (null: nothing), or who holds it.
 */
export async function claim<T extends Owned>(
  file: string,
  content: T,
): Promise<{ claimed: true; stale: T | null } | { claimed: false; holder: T }> {
  await mkdir(dirname(file), { recursive: true });
  const unique = randomUUID();
  const draft = `${file}.${unique}.new`;
  await writeFile(draft, JSON.stringify(content), { mode: 0o600 });
  let stale: T | null = null;
  try {
    for (;;) {
      try {
        await link(draft, file);
        return { claimed: true, stale };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = await readOwned<T>(file);
      if (holder && isAlive(holder.owner)) return { claimed: false, holder };
      const moved = `${file}.${unique}.stale`;
      await rename(file, moved).catch(ignoreMissing);
      const taken = await readOwned<T>(moved);
      // Another process may have claimed it between our look and our rename: give it back.
      if (taken && isAlive(taken.owner)) await link(moved, file).catch(() => undefined);
      else stale = taken ?? stale;
      await rm(moved, { force: true });
    }
  } finally {
    await rm(draft, { force: true });
  }
}

/** The content of a lock file; null when there is none or it cannot be read as one. */
export async function readOwned<T extends Owned>(file: string): Promise<T | null> {
  try {
    const content = JSON.parse(await readFile(file, 'utf8')) as Partial<T>;
    return typeof content.owner?.pid === 'number' ? (content as T) : null;
  } catch {
    return null;
  }
}

/** Runs `work` while no other process runs under the same lock file. */
export async function withLock<T>(
  file: string,
  work: () => Promise<T>,
  { signal, waiting }: { signal?: AbortSignal | undefined; waiting?: (holder: ProcessId) => void } = {},
): Promise<T> {
  for (let announced = false; ; announced = true) {
    if (signal?.aborted) throw interrupted();
    const result = await claim(file, { owner: self() });
    if (result.claimed) break;
    if (!announced) waiting?.(result.holder.owner);
    await sleep(200);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
