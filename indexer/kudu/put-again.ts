import type { Pool } from 'pg';
import type { Table } from '../../kudu/index.ts';
import type { TableSnapshot } from '../../kudu-store/read/read-rows.ts';
import { databaseClock } from '../../sql/database-time.ts';
import { selectionSql } from '../../sql/selection.ts';
import type { StoredImages } from '../../sql/stored-images.ts';
import { applyChanges } from '../apply.ts';
import { indexVanished, interrupted, type PutJob, rebuildContext } from '../rebuild-job.ts';
import { readSnapshot } from './changes.ts';
import { sendBack } from './position.ts';

/** As far as images are chosen. */
type ChosenFrom = Pick<StoredImages, 'hold' | 'query'>;

/** Rows of one scan. */
const AT_ONCE = 1000;

/**
 * Puts the documents of matching rows again, as the rows are at one moment. Whoever follows may have put, or deleted, documents as of a
 * later one meanwhile; a row that changed without a new revision (a label set in Kudu itself) would then be behind in the
 * index. So whoever follows is sent back to that moment, and puts again what changed after it.
 * @returns how many rows
 */
export async function putAgain(job: PutJob, table: Table, images: ChosenFrom): Promise<number> {
  const { dataset, target, options, signal } = job;
  const { pool, onProgress } = options;
  const asOf = await databaseClock(pool);
  const { ids, at } = await matching(pool, images, job);
  let scanned = 0;
  let begun = false;
  try {
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      const some = { id: { in: ids.slice(from, from + AT_ONCE) } };
      for await (const { puts } of readSnapshot(table, dataset, at, some)) {
        if (signal.aborted) throw interrupted(signal.reason);
        begun = true;
        const context = rebuildContext(options, signal, 'external_gte', true);
        const { homeless } = await applyChanges(puts, () => target, context);
        if (homeless.length > 0) throw indexVanished(target.index);
        scanned += puts.length;
        onProgress?.(scanned, ids.length);
      }
    }
  } finally {
    if (begun) await sendBack(pool, dataset, at, asOf);
  }
  return scanned;
}

/** The ids of matching rows that are there, in order, and the moment by Kudu's clock at which they are. */
async function matching(
  pool: Pool,
  images: ChosenFrom,
  { dataset, where }: PutJob,
): Promise<{ ids: string[]; at: bigint }> {
  await using snapshot = await images.hold(pool, dataset);
  const selection = { where };
  const ids = await images.query(pool, { dataset, selection, snapshot }, async (client, inSql) => {
    const { rows } = await client.query<{ id: string }>(
      `select i.id from ${selectionSql(inSql, selection)} order by i.id`,
    );
    return rows.map(({ id }) => id);
  });
  return { ids, at: (snapshot.inStore as TableSnapshot).at! };
}
