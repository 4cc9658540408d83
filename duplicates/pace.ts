import { setImmediate } from 'node:timers/promises';
import { HubError } from '../errors.ts';

/** So long a computation may keep all else in the process waiting. */
const TURN_MS = 20;

/** Lets a long computation share its thread: others get a turn every so often, and an interrupt is obeyed. */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  #since = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** To be called every millisecond or so. @throws HubError INTERRUPTED */
  async turn(): Promise<void> {
    if (performance.now() - this.#since < TURN_MS) return;
    await setImmediate();
    if (this.#signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while hashes were compared.');
    this.#since = performance.now();
  }
}
