import type { Job, JobContext, JobKind, Workshop } from './job.ts';

/** Parts of a job come one after the other; after so long without one, what they share is let go. */
const KEEP_OPEN_MS = 5000;

interface Entry {
  opening: Promise<Workshop>;
  users: number;
  /** A part failed with it: it may be broken, so the next part opens another. */
  suspect: boolean;
  idle?: NodeJS.Timeout;
}

/** What parts of jobs share in this process: opened with the first part that needs it, closed a while after the last. */
export class Workshops implements AsyncDisposable {
  readonly #context: JobContext;
  readonly #entries = new Map<number, Entry>();
  readonly #closing = new Set<Promise<void>>();

  constructor(context: JobContext) {
    this.#context = context;
  }

  /** Runs `work` with the job's workshop. What opening it throws is thrown, and tried again by the next part. */
  async use<T>(kind: JobKind, job: Job, work: (workshop: Workshop) => Promise<T>): Promise<T> {
    const entry = this.#entry(kind, job);
    entry.users++;
    clearTimeout(entry.idle);
    try {
      return await work(await entry.opening);
    } catch (error) {
      entry.suspect = true;
      if (this.#entries.get(job.job) === entry) this.#entries.delete(job.job);
      throw error;
    } finally {
      entry.users--;
      if (entry.users === 0) {
        if (entry.suspect) this.#close(job.job, entry);
        else entry.idle = setTimeout(() => this.#close(job.job, entry), KEEP_OPEN_MS).unref();
      }
    }
  }

  #entry(kind: JobKind, job: Job): Entry {
    const known = this.#entries.get(job.job);
    if (known) return known;
    const entry: Entry = { opening: kind.open(this.#context, job), users: 0, suspect: false };
    this.#entries.set(job.job, entry);
    return entry;
  }

  #close(job: number, entry: Entry): void {
    clearTimeout(entry.idle);
    if (this.#entries.get(job) === entry) this.#entries.delete(job);
    const closing = entry.opening
      .then(
        (workshop) => workshop[Symbol.asyncDispose](),
        // It was never open; those who wanted it know why.
        () => undefined,
      )
      .catch((error: unknown) =>
        this.#context.log.warn({ job, err: error }, 'what a job held could not be let go'),
      )
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Closes all of them; nobody uses one any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const [job, entry] of this.#entries) this.#close(job, entry);
    await Promise.all(this.#closing);
  }
}
