import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { COPY_HEADER, COPY_TRAILER } from './binary-copy.ts';

/**
 * Runs a COPY … FROM STDIN (FORMAT binary).
 * @param rows encoded (CopyWriter), without header and trailer, in one or several pieces
 */
export async function copyIn(
  client: ClientBase,
  statement: string,
  rows: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const copy = client.query(copyFrom(statement));
  const pieces = rows instanceof Uint8Array ? [rows] : rows;
  await pipeline(Readable.from(framed(pieces)), copy);
}

async function* framed(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield COPY_HEADER;
  yield* pieces;
  yield COPY_TRAILER;
}
