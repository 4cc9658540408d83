import type { Place, SourceMessage } from '../sql/dead-letters.ts';
import {
  clearInFlight,
  countReplays,
  haltPartition,
  markInFlight,
  openPartition,
  type PartitionState,
} from '../sql/offsets.ts';
import type { Batch } from '../sql/write-batch.ts';
import { type Chunk, ChunkCutter } from './chunks.ts';
import { isDoneWithin } from './done-within.ts';
import { type IngestContext, keyHash, prepareChunk, writeChunk } from './engine.ts';

/** What one fetch from a partition brought. */
export interface SourceBatch {
  /** The offset that was asked for: between it and the first message there is none. */
  fetchedOffset: number;
  /** Behind the last offset of the batch, whether or not a message is there. */
  endOffset: number;
  messages: SourceMessage[];
  /** End of the partition at that time. */
  highWatermark: number;
}

/** What the partition wants next: messages from an offset on, or nothing until an operator decides. */
export type Advice = { kind: 'continue'; offset: number } | { kind: 'halted'; reason: string };

/**
 * Called between chunks, and while waiting. @param taken everything below this offset is in the table.
 * @throws when the partition is no longer ours.
 */
export type Beat = (taken?: number) => Promise<void>;

/** Oldest and next offset of the partition, from the broker. */
export type Watermarks = () => Promise<{ low: number; high: number }>;

/** While images are fetched, which may take long, it is looked so often whether the partition is still ours. */
const BEAT_EVERY_MS = 1000;

/** A chunk, and what is to be written of it. */
interface Prepared {
  chunk: Chunk;
  batch: Batch;
}

/**
 * After a pause of this length the last message is looked at again: a topic made anew while we wait for its next message
 * brings no rebalance and, once it is long enough, no other sign. Deleting and making one takes longer than this.
 */
const PAUSE_MS = 200;

/**
 * Takes one partition of a topic into the table, in order, each message once. The database owns the offset: it is
 * moved in the transaction that writes the rows, and what Kafka believes about us is only a hint. Before the first
 * batch, and after every pause, it is checked that the topic is the one we know (see `open` and `verify`).
 *
 *   unopened ──open──▶ verifying ──the last message is the one we took──▶ running
 *      ▲  └──nothing taken yet──────────────────────────────────────────────▶┘ │
 *      └───────────── someone else moved the offset ◀──────────────────────────┘   any ──messages are missing──▶ halted
 *                            (running ──a pause──▶ verifying)
 */
export class PartitionIngest {
  readonly #context: IngestContext;
  readonly #place: Place;
  readonly #watermarks: Watermarks;
  #state: PartitionState | null = null;
  #verified = false;
  /** When everything there was had been taken; Infinity while there is more. */
  #idleSince = Infinity;
  /** The offset that the last batch should have begun at or before, and did not. */
  #askedFor: number | null = null;
  /** Messages below this were in flight when a process died. */
  #isolateBelow = 0;
  /** The newest mark of that kind, written or failed. */
  #marked: Promise<void> = Promise.resolve();

  constructor(context: IngestContext, place: Omit<Place, 'epoch'>, watermarks: Watermarks) {
    this.#context = context;
    this.#place = { ...place, epoch: 0 };
    this.#watermarks = watermarks;
  }

  get place(): Readonly<Place> {
    return this.#place;
  }

  /** Takes what it can of the batch. */
  async take(batch: SourceBatch, beat: Beat): Promise<Advice> {
    if (Date.now() - this.#idleSince > PAUSE_MS) this.#verified = false;
    this.#idleSince = Infinity;
    const state = (this.#state ??= await this.#open());
    if (state.haltedReason !== null) return { kind: 'halted', reason: state.haltedReason };
    const wanted = this.#verified || !state.last ? state.nextOffset : state.last.offset;
    if (batch.fetchedOffset > wanted) {
      const missing = await this.#missing(batch.fetchedOffset);
      if (missing !== null) return this.#halt(missing);
      // Asked for already and not given: retention has taken it since we looked, so look again.
      if (this.#askedFor === wanted) this.#state = null;
      this.#askedFor = wanted;
      return { kind: 'continue', offset: wanted };
    }
    this.#askedFor = null;

    if (!this.#verified) {
      if (batch.endOffset <= wanted) return { kind: 'continue', offset: wanted };
      const refusal = this.#verify(batch);
      if (refusal !== null) return this.#halt(refusal);
      this.#verified = true;
    }
    const fresh = batch.messages.filter(({ offset }) => offset >= state.nextOffset);
    await this.#noticeReplays(batch.messages.length - fresh.length);
    if (batch.endOffset <= state.nextOffset) return { kind: 'continue', offset: state.nextOffset };
    const missing = await this.#missing(fresh[0]?.offset ?? batch.endOffset);
    if (missing !== null) return this.#halt(missing);
    const advice = await this.#process(fresh, batch.endOffset, beat);
    if (advice.kind === 'continue' && advice.offset >= batch.highWatermark) this.#idleSince = Date.now();
    return advice;
  }

  /** Reads the database's offset and compares it with what the topic holds. */
  async #open(): Promise<PartitionState> {
    const { pool } = this.#context;
    const { dataset, topic, partition } = this.#place;
    const { low, high } = await this.#watermarks();
    const state = await openPartition(pool, dataset, topic, partition, low);
    this.#place.epoch = state.epoch;
    this.#isolateBelow = state.inFlightTo ?? 0;
    this.#verified = state.last === null || state.last.offset < low;
    if (state.haltedReason !== null) return state;
    // Asked again, as messages may have come and been taken by another process since.
    if (state.nextOffset > high && state.nextOffset > (await this.#watermarks()).high) {
      const reason = `The topic ends at offset ${high}, but ${state.nextOffset} messages of it were already taken: it was made anew or cut off. ${this.#acceptNewTopic}`;
      this.#state = state;
      const { kind } = await this.#halt(reason);
      return kind === 'halted' ? { ...state, haltedReason: reason } : this.#open();
    }
    return state;
  }

  /** The last message taken must still be what it was, or the topic is another one under the same name. */
  #verify({ messages }: SourceBatch): string | null {
    const last = this.#state!.last!;
    const found = messages.find(({ offset }) => offset >= last.offset);
    // Compaction may have removed it.
    if (!found || found.offset > last.offset) return null;
    if (found.timestamp === last.timestamp && keyHash(found).equals(last.keyHash)) return null;
    return `The message at offset ${last.offset} is not the one that was taken from there: the topic was made anew. ${this.#acceptNewTopic}`;
  }

  /** Offsets without a message are normal (compaction, transactions) unless retention has deleted what we did not read. */
  async #missing(firstOffset: number): Promise<string | null> {
    const next = this.#state!.nextOffset;
    if (firstOffset === next) return null;
    const { low } = await this.#watermarks();
    if (low <= next) return null;
    return `Messages ${next} to ${low - 1} are gone: the topic's retention deleted them before they were read. Accept that with: imagehub resume ${this.#place.dataset} --accept-gap`;
  }

  async #process(messages: SourceMessage[], endOffset: number, beat: Beat): Promise<Advice> {
    const { pool, signal } = this.#context;
    const { dataset, topic, partition } = this.#place;
    const state = this.#state!;
    const stretch = { dataset, from: state.nextOffset, to: endOffset, isolateBelow: this.#isolateBelow };
    using chunks = new ChunkCutter(this.#context, messages, stretch);
    let next = this.#prepareNext(chunks);
    try {
      // While one chunk is written the next is decoded.
      for (;;) {
        while (chunks.isWaiting && !(await isDoneWithin(BEAT_EVERY_MS, next))) await beat();
        const prepared = await next;
        if (!prepared) break;
        const { chunk, batch } = prepared;
        next = this.#prepareNext(chunks);
        // Written first: while the chunk is, its transaction holds the offset's row, and the mark would wait for that on a
        // connection more.
        await this.#marked;
        const isolated = this.#isIsolated(chunk);
        if (!(await writeChunk(this.#context, this.#place, chunk, batch, { isolated, beat }))) {
          this.#state = null;
          return { kind: 'continue', offset: state.nextOffset };
        }
        state.nextOffset = chunk.to;
        if (batch.last) state.last = batch.last;
        await beat(state.nextOffset);
        signal.throwIfAborted();
      }
    } catch (error) {
      chunks[Symbol.dispose]();
      // Given up in good order: what is in flight did not kill us. Whoever takes over reads the offset itself.
      // What killed another process before is not done yet, though, and stays marked.
      this.#state = null;
      await this.#marked;
      if (state.nextOffset >= this.#isolateBelow) {
        await clearInFlight(pool, topic, partition).catch(() => undefined);
      }
      throw error;
    }
    return { kind: 'continue', offset: state.nextOffset };
  }

  #prepareNext(chunks: ChunkCutter): Promise<Prepared | null> {
    const chunk = chunks.next();
    const prepared =
      chunk instanceof Promise
        ? // Nothing is marked any more once the mark is taken back.
          chunk.then((arrived) => this.#prepare(chunks.isDisposed ? null : arrived))
        : this.#prepare(chunk);
    // It is awaited only after the chunk before it is written.
    prepared.catch(() => undefined);
    return prepared;
  }

  async #prepare(chunk: Chunk | null): Promise<Prepared | null> {
    if (!chunk) return null;
    const { topic, partition } = this.#place;
    const marked = markInFlight(this.#context.pool, topic, partition, chunk.to);
    this.#marked = marked.catch(() => undefined);
    await marked;
    return { chunk, batch: await prepareChunk(this.#context, this.#place, chunk, this.#isIsolated(chunk)) };
  }

  #isIsolated(chunk: Chunk): boolean {
    return chunk.from < this.#isolateBelow;
  }

  get #acceptNewTopic(): string {
    return `If that is meant, take it from its start with: imagehub resume ${this.#place.dataset} --accept-new-topic`;
  }

  async #noticeReplays(count: number): Promise<void> {
    // One message is read again on purpose after each start, to recognise the topic.
    const { dataset, topic, partition } = this.#place;
    if (count <= 1) return;
    await countReplays(this.#context.pool, topic, partition, count);
    this.#context.metrics.messages.inc({ dataset, outcome: 'replay' }, count);
  }

  async #halt(reason: string): Promise<Advice> {
    const { topic, partition, dataset } = this.#place;
    const state = this.#state!;
    this.#state = null;
    if (!(await haltPartition(this.#context.pool, state, reason))) {
      return { kind: 'continue', offset: state.nextOffset };
    }
    const { nextOffset: offset } = state;
    this.#context.log.error({ dataset, topic, partition, offset }, `this partition is stopped: ${reason}`);
    return { kind: 'halted', reason };
  }
}
