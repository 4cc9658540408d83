import type { PoolClient } from 'pg';
import { HubError } from '../errors.ts';
import type { Table } from '../kudu/index.ts';
import type { Pool } from '../sql/database.ts';
import { type KuduCopy, recordComplete, recordCopied } from './state.ts';
import type { CopyWriter } from './writer.ts';

/** Ids that are taken from the table at once; the writer cuts them into groups by the size of their rows. */
const PAGE_IDS = 5000;

export interface FirstCopyOptions {
  pool: Pool;
  /** Holds the copy's lock. */
  session: PoolClient;
  table: Table;
  copy: KuduCopy;
  writer: CopyWriter;
  signal: AbortSignal;
}

/**
 * Copies every row while the feed, whose slot is older than the first of them, brings what changes meanwhile; goes on behind
 * the last row of an attempt before. Then removes what the table holds and Postgres does not: rows that were deleted while
 * no slot was there to tell of it.
 */
export async function copyEverything(options: FirstCopyOptions): Promise<void> {
  const { pool, session, copy, writer, signal } = options;
  for (let after = copy.copiedTo ?? ''; ;) {
    // Short statements: a scan of hours holds nothing back.
    const { rows } = await session.query<{ id: string }>(
      'select id from public.images where dataset = $1 and id > $2 order by id limit $3',
      [copy.dataset, after, PAGE_IDS],
    );
    if (rows.length === 0) break;
    throwIfAborted(signal);
    await writer.write(
      rows.map(({ id }) => id),
      async (group) => recordCopied(pool, copy.copyNo, group.at(-1)!, group.length),
    );
    after = rows.at(-1)!.id;
  }
  await removeExtras(options);
  await recordComplete(pool, copy.copyNo);
}

async function removeExtras({ pool, table, copy, writer, signal }: FirstCopyOptions): Promise<void> {
  for await (const ids of scanIds(table)) {
    throwIfAborted(signal);
    const { rows } = await pool.query<{ id: string }>(
      `select id from unnest($2::text[]) as k (id)
        where not exists (select from public.images i where i.dataset = $1 and i.id = k.id)`,
      [copy.dataset, ids],
    );
    if (rows.length > 0) await writer.write(rows.map(({ id }) => id));
  }
}

async function* scanIds(table: Table): AsyncGenerator<string[]> {
  for await (const batch of table.scan({ columns: ['id'], cacheBlocks: false })) {
    yield [...(batch.getChild('id') as Iterable<string>)];
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new HubError('INTERRUPTED', 'Interrupted.');
}
