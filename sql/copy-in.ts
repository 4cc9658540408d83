import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { COPY_HEADER, COPY_TRAILER } from './binary-copy.ts';

/**
 * Runs a COPY … FROM STDIN (FORMAT binary).
 * @param rows encoded (CopyWriter), without header and trailer
 */
export async function copyIn(client: ClientBase, statement: string, rows: Uint8Array): Promise<void> {
  const copy = client.query(copyFrom(statement));
  await pipeline(Readable.from([COPY_HEADER, rows, COPY_TRAILER]), copy);
}
