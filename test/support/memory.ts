import { readFileSync } from 'node:fs';

/** Resident memory of a process, MiB (Linux: proc_pid_status(5), VmRSS); 0 when it is gone. */
export function residentMib(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** The most that a process has in memory, MiB, asked all the time until it is disposed of. */
export function watchMemory(pid: number): Disposable & { most(): number } {
  let most = residentMib(pid);
  const timer = setInterval(() => (most = Math.max(most, residentMib(pid))), 100);
  return { most: () => most, [Symbol.dispose]: () => clearInterval(timer) };
}
