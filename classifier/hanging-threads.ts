import { availableParallelism } from 'node:os';

/**
 * Each keeps a core busy, and maybe a gigabyte that it works on. Beyond so many none is replaced, and only another process
 * helps.
 */
export const MOST_HANGING = Math.min(availableParallelism(), 4);

let hanging = 0;

/** Worker threads of this process that hang now. They keep it from ending by itself. */
export const hangingThreads = (): number => hanging;

/** What is wrong with this process when too many do; null: nothing. */
export const tooManyHang = (): string | null =>
  hanging > MOST_HANGING
    ? `${hanging} worker threads hang in native code; what is left of them does the work, in slower ways, until this process is started anew`
    : null;

/** Counts one more. @returns how to count it back */
export function threadHangs(): () => void {
  hanging++;
  return () => void hanging--;
}
