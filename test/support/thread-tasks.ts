/** Shared memory in which 0 holds a thread. */
export type Gate = Int32Array<SharedArrayBuffer>;

export const double = ({ n }: { n: number }): number => n * 2;

/** Nothing else happens in the thread meanwhile, as in native code that hangs. */
export function hang({ gate }: { gate: Gate }): void {
  Atomics.wait(gate, 0, 0);
}

export function end(): void {
  process.exit(1);
}
