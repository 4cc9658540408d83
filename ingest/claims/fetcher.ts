import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config.ts';
import { errorText } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { FETCH_OUTCOMES, Metrics } from '../../metrics.ts';
import type { Troubles } from '../../troubles.ts';
import { shownUrl } from '../message.ts';
import { aim, Refused, type Target } from './aim.ts';
import type { Fetched, NotFetched } from './claim.ts';
import { download, NotNow } from './download.ts';
import { readImageFile } from './read-file.ts';
import { Slots } from './slots.ts';

/** Waiting times between attempts: doubling, from a quarter of a second to five. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;

/** After so many images in a row of a host or disk that did not answer for any of them, it counts as away … */
const AWAY_AFTER = 3;
/** … and is asked only so often; what is wanted from it meanwhile is not waited for. */
const ASK_EVERY_MS = 5000;

/** How long the claims that are taken together wait for what fails. */
export interface Patience {
  /** One of them was given up after all that waiting: those that fail from now on are tried once. */
  spent: boolean;
}

/** Hosts and disks that did not answer, by name: how many images in a row, and when they were last asked. */
interface Silent {
  images: number;
  askedAt: number;
}

interface Claim {
  dataset: string;
  url: string;
}

/**
 * Fetches the images that messages name, some at a time. What fails and may pass is tried again, with growing pauses, for a
 * while: then it is given up, as a host that is gone for ever must not hold up its partition for ever.
 */
export class ImageFetcher {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #troubles: Troubles;
  readonly #slots: Slots;
  readonly #silent = new Map<string, Silent>();

  constructor(options: { config: Config; log: Logger; metrics: Metrics; troubles: Troubles }) {
    this.#config = options.config;
    this.#log = options.log;
    this.#metrics = options.metrics;
    this.#troubles = options.troubles;
    this.#slots = new Slots(options.config.imageUrlFetches);
  }

  /** @throws the signal's reason, and nothing else */
  async fetch(claim: Claim, patience: Patience, signal: AbortSignal): Promise<Fetched> {
    try {
      const bytes = await this.#fetchPatiently(claim, aim(claim.url, this.#config), patience, signal);
      this.#count(claim, 'fetched');
      this.#metrics.imageFetchBytes.inc({ dataset: claim.dataset }, bytes.length);
      this.#log.debug(
        { dataset: claim.dataset, url: shownUrl(claim.url), bytes: bytes.length },
        'an image was fetched',
      );
      return { bytes };
    } catch (error) {
      signal.throwIfAborted();
      this.#count(claim, error instanceof Refused ? 'refused' : 'failed');
      return notFetched(claim.url, error);
    }
  }

  async #fetchPatiently(
    { dataset, url }: Claim,
    target: Target,
    patience: Patience,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const place = target.kind === 'http' ? target.url.origin : 'disk';
    if (!this.#mayAsk(place)) throw new Error(`${place} did not answer for others, and was not asked`);
    const trouble = `images cannot be fetched from ${place}`;
    let giveUpAt = Infinity;
    for (let attempts = 1, wait = FIRST_WAIT_MS; ; attempts++) {
      try {
        const bytes = await this.#slots.use(() => this.#attempt(target, signal), signal);
        this.#silent.delete(place);
        if (attempts > 1) this.#troubles.over(trouble);
        return bytes;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Refused || error instanceof NotNow) this.#silent.delete(place);
        if (error instanceof Refused) throw error;
        giveUpAt = Math.min(giveUpAt, Date.now() + this.#config.imageUrlPatienceMs);
        if (patience.spent || Date.now() + wait > giveUpAt) {
          patience.spent = true;
          if (!(error instanceof NotNow)) this.#noteSilent(place);
          this.#troubles.forget(trouble);
          const tried = attempts === 1 ? 'tried once' : `${attempts} attempts`;
          throw new Error(`${tried}, the last: ${reasonOf(error)}`, { cause: error });
        }
        this.#count({ dataset }, 'retry');
        this.#troubles.notice(trouble, reasonOf(error), { dataset, url: shownUrl(url) });
        await sleep(wait, undefined, { signal });
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      }
    }
  }

  #attempt(target: Target, signal: AbortSignal): Promise<Buffer> {
    const { imageUrlTimeoutMs, imageUrlFolders, imageUrlBytes } = this.#config;
    const tooSlow = `it took longer than ${imageUrlTimeoutMs / 1000} s (IMAGEHUB_IMAGE_URL_TIMEOUT_MS)`;
    return within(imageUrlTimeoutMs, tooSlow, signal, (stop) =>
      target.kind === 'http'
        ? download(target.url, this.#config, stop)
        : readImageFile(target.path, imageUrlFolders, imageUrlBytes, stop),
    );
  }

  #mayAsk(place: string): boolean {
    const silent = this.#silent.get(place);
    if (!silent || silent.images < AWAY_AFTER) return true;
    if (Date.now() - silent.askedAt < ASK_EVERY_MS) return false;
    silent.askedAt = Date.now();
    return true;
  }

  #noteSilent(place: string): void {
    const images = (this.#silent.get(place)?.images ?? 0) + 1;
    this.#silent.set(place, { images, askedAt: Date.now() });
  }

  #count({ dataset }: Pick<Claim, 'dataset'>, outcome: (typeof FETCH_OUTCOMES)[number]): void {
    this.#metrics.imageFetches.inc({ dataset, outcome });
  }
}

function notFetched(url: string, error: unknown): NotFetched {
  if (error instanceof Refused) return { reason: error.reason, detail: error.message };
  return { reason: 'fetch-failed', detail: `${shownUrl(url)} could not be fetched: ${reasonOf(error)}.` };
}

/** `fetch` fails with “fetch failed” or “terminated”, and says why in the cause. */
function reasonOf(error: unknown): string {
  const { name, cause } = error as Error;
  return errorText(name === 'TypeError' ? (cause ?? error) : error);
}

/** Ends with the work, after so long, or when the signal says so, whether or not the work lets itself be stopped. */
async function within<T>(
  ms: number,
  tooSlow: string,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const stopped = Promise.withResolvers<never>();
  const end = (reason: unknown) => {
    stop.abort(reason);
    stopped.reject(reason as Error);
  };
  const onAbort = () => end(signal.reason);
  const timer = setTimeout(() => end(new Error(tooSlow)), ms);
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([work(stop.signal), stopped.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
