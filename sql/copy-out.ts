import type { PoolClient } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { COPY_HEADER } from './binary-copy.ts';

/** Whole rows in COPY's binary format, without header and trailer, in memory of their own. */
export interface RowChunk {
  bytes: Uint8Array<ArrayBuffer>;
  rows: number;
}

/** A chunk ends with the row that reaches one of these. */
export interface ChunkLimits {
  rows: number;
  bytes: number;
}

/**
 * The rows of a query, read as a stream: only some chunks are in memory, however many rows there are. A caller that
 * stops before the end must close the connection, which still has rows to deliver.
 * @param select a statement without parameters, as COPY takes none
 */
export async function* copyOut(
  client: PoolClient,
  select: string,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const stream = client.query(copyTo(`copy (${select}) to stdout (format binary)`));
  const chunk = new Chunk(limits.bytes);
  let skip = COPY_HEADER.length;
  for await (const part of stream as AsyncIterable<Buffer>) {
    if (skip > 0) {
      chunk.append(part.subarray(Math.min(skip, part.length)));
      skip -= Math.min(skip, part.length);
    } else {
      chunk.append(part);
    }
    for (;;) {
      const full = chunk.advance(limits);
      if (!full) break;
      yield full;
    }
  }
  const rest = chunk.take();
  if (rest.rows > 0) yield rest;
}

/** Grows where rows are larger. */
const FIRST_BYTES = 512 * 1024;

/** Bytes as they come in, and how many whole rows they hold. */
class Chunk {
  #bytes: Buffer<ArrayBuffer>;
  #length = 0;
  /** Behind the last whole row. */
  #end = 0;
  #rows = 0;

  /** @param bytes that it will hold at most, roughly */
  constructor(bytes: number) {
    this.#bytes = Buffer.from(new ArrayBuffer(Math.min(FIRST_BYTES, bytes)));
  }

  append(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (length > this.#bytes.length) {
      const larger = Buffer.from(new ArrayBuffer(Math.max(length, 2 * this.#bytes.length)));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(part, this.#length);
    this.#length = length;
  }

  /** Goes over the rows that are complete. @returns them, once they reach a limit. */
  advance(limits: ChunkLimits): RowChunk | null {
    for (let end = this.#rowEnd(); end > 0; end = this.#rowEnd()) {
      this.#end = end;
      if (++this.#rows >= limits.rows || end >= limits.bytes) return this.take();
    }
    return null;
  }

  /** @returns where the row behind the last whole one ends; 0: it is not complete, or the trailer. */
  #rowEnd(): number {
    let at = this.#end;
    if (at + 2 > this.#length) return 0;
    const fields = this.#bytes.readInt16BE(at);
    if (fields < 0) return 0;
    at += 2;
    for (let field = 0; field < fields; field++) {
      if (at + 4 > this.#length) return 0;
      at += 4 + Math.max(0, this.#bytes.readInt32BE(at));
    }
    return at <= this.#length ? at : 0;
  }

  take(): RowChunk {
    // Memory of their own, just as much as they need: the collector is driven by what is allocated.
    const taken = { bytes: new Uint8Array(this.#bytes.subarray(0, this.#end)), rows: this.#rows };
    this.#bytes.copyWithin(0, this.#end, this.#length);
    this.#length -= this.#end;
    this.#end = this.#rows = 0;
    return taken;
  }
}
