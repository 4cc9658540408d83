import type { SourceMessage } from '../sql/dead-letters.ts';
import { claimedUrl, type Fetched, type FetchedClaim, withFetched } from './claims/claim.ts';
import type { Patience } from './claims/fetcher.ts';
import { isDoneWithin } from './done-within.ts';
import type { IngestContext } from './engine.ts';
import { messageBytes } from './kafka-record.ts';

/** Consecutive messages of one partition that become one transaction and move its offset from `from` to `to`. */
export interface Chunk {
  messages: SourceMessage[];
  from: number;
  to: number;
}

export interface CutOptions {
  dataset: string;
  from: number;
  to: number;
  /** Messages below this are done one by one, and not with others in a chunk. */
  isolateBelow?: number;
  /** Shared with others; else the messages have their own. */
  patience?: Patience;
}

/** So long in all a chunk waits for images that are being fetched; then what there is of it goes on without them. */
const WAITS_MS = 1000;

/**
 * Cuts messages into chunks of at most the configured number of images and bytes, and where isolation ends. Images that
 * messages name are fetched on the way, some of them ahead. Dispose of it to stop that.
 */
export class ChunkCutter implements Disposable {
  readonly #context: Pick<IngestContext, 'config' | 'fetcher' | 'metrics' | 'signal'>;
  readonly #messages: readonly SourceMessage[];
  readonly #dataset: string;
  readonly #to: number;
  readonly #isolateBelow: number;
  /** The next message to be put into a chunk, and what it became if it named its image. */
  #at = 0;
  #arrived: FetchedClaim | null = null;
  /** Null: the last one was given out. */
  #chunk: Chunk | null;
  #bytes = 0;
  #waitedMs = 0;
  #isWaiting = false;

  /** Begun and not in a chunk yet, by index; the messages before `#looked` were looked at. */
  readonly #ahead = new Map<number, Promise<Fetched>>();
  #looked = 0;
  /** Of images that are there and not in a chunk yet. */
  #bytesAhead = 0;
  readonly #patience: Patience;
  readonly #stop = new AbortController();
  #signal: AbortSignal | null = null;

  constructor(
    context: Pick<IngestContext, 'config' | 'fetcher' | 'metrics' | 'signal'>,
    messages: readonly SourceMessage[],
    { dataset, from, to, isolateBelow = 0, patience = { spent: false } }: CutOptions,
  ) {
    this.#context = context;
    this.#messages = messages;
    this.#dataset = dataset;
    this.#chunk = { messages: [], from, to };
    this.#to = to;
    this.#isolateBelow = isolateBelow;
    this.#patience = patience;
  }

  /**
   * The next chunk, at once unless an image has to be waited for; null: there is none. Without messages there is one, empty.
   * @throws the signal's reason when we are asked to stop while waiting.
   */
  next(): Chunk | null | Promise<Chunk | null> {
    const step = this.#advance();
    if (step !== 'claim') return step;
    this.#isWaiting = true;
    return this.#nextWithClaims().finally(() => (this.#isWaiting = false));
  }

  /** The next chunk is asked for, and an image of it is not there yet. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  get isDisposed(): boolean {
    return this.#stop.signal.aborted;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #nextWithClaims(): Promise<Chunk | null> {
    for (;;) {
      const message = this.#messages[this.#at]!;
      const image = this.#image(this.#at);
      const started = performance.now();
      const isFirst = this.#chunk!.messages.length === 0;
      const inTime = isFirst || (await isDoneWithin(WAITS_MS - this.#waitedMs, image));
      const fetched = inTime ? await image : null;
      this.#waitedMs += performance.now() - started;
      if (!fetched) return this.#close(message.offset);
      this.#ahead.delete(this.#at);
      this.#bytesAhead -= imageBytes(fetched);
      this.#arrived = withFetched(message, fetched);
      const step = this.#advance();
      if (step !== 'claim') return step;
    }
  }

  /** Fills the chunk until it is full, or a message comes whose image has to be fetched first. */
  #advance(): Chunk | 'claim' | null {
    const { batchImages, batchBytes } = this.#context.config;
    for (; this.#at < this.#messages.length; this.#at++) {
      const { messages, from } = this.#chunk!;
      const message = this.#arrived ?? this.#messages[this.#at]!;
      const size = messageBytes(message) + imageBytes(this.#arrived?.fetched);
      const full = messages.length >= batchImages || this.#bytes + size > batchBytes;
      const leavesIsolation = from < this.#isolateBelow && message.offset >= this.#isolateBelow;
      if (messages.length > 0 && (full || leavesIsolation)) return this.#close(message.offset);
      if (this.#arrived === null && claimedUrl(message) !== null) return 'claim';
      messages.push(message);
      this.#bytes += size;
      this.#arrived = null;
    }
    return this.#chunk && this.#close(this.#to);
  }

  #close(to: number): Chunk {
    const chunk = { ...this.#chunk!, to };
    this.#chunk = to < this.#to ? { messages: [], from: to, to: this.#to } : null;
    if (this.#waitedMs > 0) {
      const stage = { dataset: this.#dataset, stage: 'fetch' };
      this.#context.metrics.batchStage.observe(stage, this.#waitedMs / 1000);
    }
    this.#bytes = 0;
    this.#waitedMs = 0;
    return chunk;
  }

  /** The image that the message at this place names; as many of those behind it as there is room for are begun too. */
  #image(index: number): Promise<Fetched> {
    const { imageUrlFetches, batchBytes } = this.#context.config;
    const isRoom = () => this.#ahead.size < imageUrlFetches && this.#bytesAhead < batchBytes;
    this.#looked = Math.max(this.#looked, index);
    while (this.#looked === index || (this.#looked < this.#messages.length && isRoom())) {
      const url = claimedUrl(this.#messages[this.#looked]!);
      if (url !== null) this.#ahead.set(this.#looked, this.#begin(url));
      this.#looked++;
    }
    return this.#ahead.get(index)!;
  }

  #begin(url: string): Promise<Fetched> {
    const { fetcher, signal } = this.#context;
    this.#signal ??= AbortSignal.any([signal, this.#stop.signal]);
    const image = fetcher
      .fetch({ dataset: this.#dataset, url }, this.#patience, this.#signal)
      .then((fetched) => {
        this.#bytesAhead += imageBytes(fetched);
        return fetched;
      });
    // It is awaited only when its message's turn comes.
    image.catch(() => undefined);
    return image;
  }
}

const imageBytes = (fetched: Fetched | undefined): number =>
  fetched && 'bytes' in fetched ? fetched.bytes.length : 0;
