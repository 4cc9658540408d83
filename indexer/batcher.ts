import { documentId } from './documents.ts';
import type { Change, FeedSink } from './feed.ts';
import type { Lsn } from './lsn.ts';

export interface BatcherOptions {
  /** Writes a batch, each key once; the changes are durable when it resolves. */
  write(changes: Change[]): Promise<void>;
  classesChanged?(): void;
  truncated(): Promise<void>;
}

/** Bulk requests of this size run at full speed; larger ones only wait longer. */
const BATCH_CHANGES = 2000;
const BATCH_BYTES = 8 * 1024 * 1024;
/** A single change waits at most this long, so that with a refresh every second it is found within two. */
const BATCH_WAIT_MS = 200;

/**
 * Collects the feed's changes into batches: one change per key, the newest. One batch is written while the next
 * one fills; when that is full too, the feed waits. So memory holds two batches at most, and the writes of one
 * key keep their order.
 */
export class ChangeBatcher implements FeedSink {
  readonly #options: BatcherOptions;
  #pending = new Map<string, Change>();
  #pendingBytes = 0;
  #writing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #reached: Lsn = 0n;
  #durable: Lsn = 0n;
  #reachedAt: Date | null = null;
  #durableAt: Date | null = null;
  #closed = false;
  #failure: { error: unknown } | null = null;
  #waiting: { position: Lsn; resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(options: BatcherOptions) {
    this.#options = options;
  }

  change(change: Change): Promise<void> | void {
    if (this.#failure) throw this.#failure.error;
    const key = documentId(change.dataset, change.id);
    const before = this.#pending.get(key);
    if (!before) this.#pendingBytes += change.bytes;
    if (!before || change.revision >= before.revision) this.#pending.set(key, completed(change, before));
    if (this.#full) return this.#room();
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (!this.#writing) this.#start();
    }, BATCH_WAIT_MS);
  }

  classesChanged(): void {
    this.#options.classesChanged?.();
  }

  truncated(): Promise<void> {
    return this.#options.truncated();
  }

  reached(position: Lsn, committedAt: Date | null): void {
    if (position > this.#reached) this.#reached = position;
    if (committedAt) this.#reachedAt = committedAt;
    if (this.idle) this.#settle(this.#reached, this.#reachedAt);
  }

  durable(): Lsn {
    return this.#durable;
  }

  /** When the last change that is durable was committed. */
  get durableAt(): Date | null {
    return this.#durableAt;
  }

  /** Nothing waits and nothing is being written. */
  get idle(): boolean {
    return this.#pending.size === 0 && this.#writing === null && this.#failure === null;
  }

  /** Resolves when everything before `position` is durable; rejects when a write fails. */
  waitFor(position: Lsn): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure.error as Error);
    if (this.#durable >= position) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiting.push({ position, resolve, reject }));
  }

  /** Resolves never; rejects when a write has failed. */
  failed(): Promise<never> {
    return new Promise((_, reject) =>
      this.#waiting.push({ position: 2n ** 64n, resolve: () => undefined, reject }),
    );
  }

  /** Lets the write under way finish; nothing else is written afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing?.catch(() => undefined);
    if (this.#timer) clearTimeout(this.#timer);
    this.#fail(this.#failure?.error ?? new Error('the change feed is closed'));
  }

  get #full(): boolean {
    return this.#pending.size >= BATCH_CHANGES || this.#pendingBytes >= BATCH_BYTES;
  }

  async #room(): Promise<void> {
    await this.#writing;
    if (this.#failure) throw this.#failure.error;
    // The write that has just ended may have begun with what waited here.
    if (this.#full) this.#start();
  }

  #start(): void {
    if (this.#closed || this.#failure || this.#pending.size === 0) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const changes = [...this.#pending.values()];
    const position = this.#reached;
    const committedAt = this.#reachedAt;
    this.#pending = new Map();
    this.#pendingBytes = 0;
    this.#writing = this.#options.write(changes).then(
      () => {
        this.#writing = null;
        if (this.idle) this.#settle(this.#reached, this.#reachedAt);
        else this.#settle(position, committedAt);
        if (this.#full || (this.#pending.size > 0 && !this.#timer)) this.#start();
      },
      (error: unknown) => {
        this.#writing = null;
        this.#fail(error);
      },
    );
  }

  #settle(position: Lsn, committedAt: Date | null): void {
    if (position > this.#durable) this.#durable = position;
    this.#durableAt = committedAt;
    this.#waiting = this.#waiting.filter((waiting) => {
      if (waiting.position > this.#durable) return true;
      waiting.resolve();
      return false;
    });
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/** What an update left out because it did not change it stands in the change before, if that is still here. */
function completed(change: Change, before: Change | undefined): Change {
  const { row } = change;
  const known = before?.row;
  if (!row || !known) return change;
  for (const [name, value] of Object.entries(known)) {
    const column = name as keyof typeof row;
    if (row[column] === undefined) row[column] = value as never;
  }
  return change;
}
