import { readdirSync, readFileSync } from 'node:fs';

/** Process ids of this process's children that decode in isolation now, or run another file. */
export function isolatedChildren(file = 'isolated-child'): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const parent = /\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
        return (
          Number(parent) === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(file)
        );
      } catch {
        return false; // gone meanwhile
      }
    })
    .map(Number);
}
