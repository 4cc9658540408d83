import { readFile } from 'node:fs/promises';

/** What a process holds of the machine's memory, MiB (Linux: proc_pid_status(5)); NaN where the system does not tell. */
export interface Memory {
  /** Now (VmRSS). */
  residentMib: number;
  /** The most it ever held (VmHWM). */
  peakMib: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const mib = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? NaN) / 1024;
  return { residentMib: mib('VmRSS'), peakMib: mib('VmHWM') };
}
