import { readdirSync, readFileSync } from 'node:fs';

/** Process ids of this process's children that decode in isolation now. */
export function isolatedChildren(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const parent = /\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
        return (
          Number(parent) === process.pid &&
          readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('isolated-child')
        );
      } catch {
        return false; // gone meanwhile
      }
    })
    .map(Number);
}
