import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { KuduError } from '../errors.ts';
import { decodeResponseHeader, type ResponseHeader } from '../messages/response-header.ts';
import { FrameMemory } from './frame-memory.ts';

/*
 * A frame, both ways (rpc/serialization.cc):
 *   total length, u32 big-endian, without itself
 *   header length, varint | RequestHeader or ResponseHeader
 *   body length, varint   | protobuf message, then the sidecars one after another
 */

const LENGTH_BYTES = 4;
/** Larger replies are garbage, as for Kudu's Java client; a server's own limit is 50 MiB unless it was raised. */
export const LARGEST_REPLY = 256 * 1024 * 1024;
/** Servers refuse larger requests unless they were told otherwise (`--rpc_max_message_size`). */
export const LARGEST_REQUEST = 50 * 1024 * 1024;
/** rpc/transfer.h */
const MOST_SIDECARS = 10_000;

export interface Reply {
  header: ResponseHeader;
  /** The protobuf message. */
  body: Uint8Array;
  /** What the message refers to by number: views into the frame's own memory. */
  sidecars: Uint8Array[];
  /** All of it. */
  frame: Uint8Array;
}

/** The protobuf message of a request, in one piece or in several. */
export type Body = Uint8Array | readonly Uint8Array[];

const piecesOf = (body: Body): readonly Uint8Array[] => (body instanceof Uint8Array ? [body] : body);

export const bodyLength = (body: Body): number =>
  piecesOf(body).reduce((sum, { byteLength }) => sum + byteLength, 0);

/** What goes onto the wire for one request, in pieces that are written one after another. */
export function encodeFrame(header: Uint8Array, body: Body): Uint8Array[] {
  const size = bodyLength(body);
  const start = new BinaryWriter().bytes(header).uint32(size).finish();
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, start.byteLength + size);
  return [length, start, ...piecesOf(body)];
}

/** @throws KuduError BAD_REPLY */
export function decodeFrame(frame: Uint8Array): Reply {
  try {
    const reader = new BinaryReader(frame);
    const header = decodeResponseHeader(reader.bytes());
    const main = reader.bytes();
    if (reader.pos !== frame.byteLength) throw new Error('bytes are left over');
    return { header, ...splitBody(main, header.sidecarOffsets), frame };
  } catch (cause) {
    throw new KuduError('BAD_REPLY', `A reply cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function splitBody(main: Uint8Array, offsets: number[]): Pick<Reply, 'body' | 'sidecars'> {
  if (offsets.length > MOST_SIDECARS) throw new Error(`${offsets.length} sidecars`);
  const ends = [...offsets.slice(1), main.byteLength];
  const sidecars = offsets.map((from, i) => {
    const to = ends[i]!;
    if (from > to || to > main.byteLength) throw new Error(`sidecar ${i} lies outside the body`);
    return main.subarray(from, to);
  });
  return { body: main.subarray(0, offsets[0]), sidecars };
}

/**
 * Cuts what a socket delivers into frames. Each frame gets memory of its own, filled as its bytes arrive: what is kept of
 * one (a scan's columns) holds nothing else alive.
 */
export class FrameSplitter {
  readonly #onFrame: (frame: Uint8Array) => void;
  readonly #memory: FrameMemory;
  readonly #length = new Uint8Array(LENGTH_BYTES);
  #frame: Uint8Array | null = null;
  #filled = 0;

  constructor(onFrame: (frame: Uint8Array) => void, memory = new FrameMemory()) {
    this.#onFrame = onFrame;
    this.#memory = memory;
  }

  /** @throws KuduError BAD_REPLY when a length is none */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength;) {
      const target: Uint8Array = this.#frame ?? this.#length;
      const part = chunk.subarray(at, at + target.byteLength - this.#filled);
      target.set(part, this.#filled);
      this.#filled += part.byteLength;
      at += part.byteLength;
      if (this.#filled < target.byteLength) continue;
      this.#filled = 0;
      if (this.#frame) {
        this.#frame = null;
        this.#onFrame(target);
      } else {
        this.#frame = this.#allocate();
      }
    }
  }

  #allocate(): Uint8Array {
    const length = new DataView(this.#length.buffer).getUint32(0);
    if (length === 0 || length > LARGEST_REPLY) {
      throw new KuduError('BAD_REPLY', `A reply says it has ${length} bytes: this is not a Kudu server.`);
    }
    // Every byte is written before anyone sees it.
    return this.#memory.take(length);
  }
}
