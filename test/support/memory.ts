import { readFileSync } from 'node:fs';

/** Resident memory of a process, MiB (Linux: proc_pid_status(5), VmRSS); 0 when it is gone. */
export function residentMib(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
