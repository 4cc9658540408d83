import { errorText } from './errors.ts';
import type { Logger } from './log.ts';

/** The same trouble is logged again only so often while it lasts … */
const SAME_AGAIN_MS = 60_000;
/** … and one that changes its words (refused, timed out, refused) so often. */
const OTHER_WORDS_MS = 5000;

interface Trouble {
  text: string;
  details: object;
  loggedAt: number;
  /** How often it was not logged since. */
  unlogged: number;
}

/** What /healthz says of a part of the process that nothing but a person can end. */
export interface WaitingHealth {
  /** starting: not ready for work yet, and nothing is wrong. */
  state: 'ok' | 'starting' | 'waiting';
  detail?: string;
}

/**
 * What one part of the process (ingest, index) waits for right now: each activity that fails and is tried again, by name.
 * Keeps a server that is away from flooding the log, and is what /healthz shows.
 */
export class Troubles {
  readonly #log: Logger;
  readonly #current = new Map<string, Trouble>();
  readonly #starting = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * @param activity as a sentence's beginning, e.g. `topic digits, partition 0, cannot be written`
   * @param error or its text
   * @param details what the log lines name beside it, e.g. dataset, topic, partition
   */
  notice(activity: string, error: unknown, details: object = {}): void {
    const text = errorText(error);
    const before = this.#current.get(activity);
    const now = Date.now();
    const quiet = text === before?.text ? SAME_AGAIN_MS : OTHER_WORDS_MS;
    if (before && now - before.loggedAt < quiet) {
      this.#current.set(activity, { ...before, text, details, unlogged: before.unlogged + 1 });
      return;
    }
    this.#current.set(activity, { text, details, loggedAt: now, unlogged: 0 });
    const times = before && before.unlogged > 0 ? { times: before.unlogged + 1 } : {};
    this.#log.warn({ ...details, ...times }, `${activity}: ${text}; nothing is lost, trying again`);
  }

  over(activity: string): void {
    const trouble = this.#current.get(activity);
    if (!trouble) return;
    this.#current.delete(activity);
    this.#log.info(trouble.details, `it goes on; no longer so: ${activity}`);
  }

  /** A step that has to be done once before this part is ready, in words that follow “still to come:”. */
  starting(step: string): void {
    this.#starting.add(step);
  }

  started(step: string): void {
    this.#starting.delete(step);
  }

  /** Given up, or begun anew: what is wrong with it (one activity, or all) will show again. */
  forget(activity?: string): void {
    if (activity === undefined) this.#current.clear();
    else this.#current.delete(activity);
  }

  health(): WaitingHealth {
    if (this.#current.size === 0) {
      if (this.#starting.size === 0) return { state: 'ok' };
      return { state: 'starting', detail: `still to come: ${[...this.#starting].join(', ')}` };
    }
    const detail = [...this.#current].map(([activity, { text }]) => `${activity}: ${text}`).join('; ');
    return { state: 'waiting', detail };
  }
}
