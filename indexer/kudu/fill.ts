import type { Table } from '../../kudu/index.ts';
import { GoneRows } from '../../kudu-store/read/gone-rows.ts';
import { databaseClock } from '../../sql/database-time.ts';
import { applyChanges } from '../apply.ts';
import { ChangeBatcher } from '../batcher.ts';
import {
  COMPARISONS,
  type FillJob,
  indexVanished,
  interrupted,
  notEqual,
  rebuildContext,
} from '../rebuild-job.ts';
import { type IndexReconciliation, reconcileIndex } from '../reconcile.ts';
import type { Filled } from '../source.ts';
import { readChanges, readSnapshot, serverTime } from './changes.ts';
import { deletionsOf, deletionsOfGone } from './deletions.ts';
import { resetPosition } from './position.ts';
import { pour } from './pour.ts';
import { kuduRows, readFigures } from './rows.ts';

/**
 * Fills a new index from a table in Kudu:
 *
 * ```
 *  snapshot at t0 ── changes from t0 to t1 ── compare with the snapshot at t1 ── changes from t1 to t2 ── swap ── position := t2
 *  whoever follows writes to the alias: the old index ───────────────────────────────────────────────── swap ── on from t2
 * ```
 *
 * What whoever follows put into the old index only is put again: setting the position sends it back (kudu/follow.ts). As long
 * as that is not written down the new index counts as incomplete, and is built again.
 *
 * Only this process writes to the new index, one scan after the other, so that a row that changed without a new revision (a
 * label set in Kudu itself) may replace its document.
 */
export async function fillFromKudu(job: FillJob, table: Table): Promise<Filled> {
  const { dataset, target, options, signal, swap } = job;
  const { pool, client, onProgress } = options;
  const throwIfInterrupted = () => {
    if (signal.aborted) throw interrupted(signal.reason);
  };
  const gone = await GoneRows.read(pool, dataset);
  const total = onProgress && (await readFigures(table, gone)).rows;
  let written = 0;
  const batcher = new ChangeBatcher({
    async write(changes) {
      const { homeless } = await applyChanges(
        changes,
        () => target,
        rebuildContext(options, signal, 'external_gte'),
      );
      if (homeless.length > 0) throw indexVanished(target.index);
      written += changes.length;
      // What changed meanwhile is written beside that.
      onProgress?.(Math.min(written, total!), total);
    },
    truncated: () => Promise.resolve(),
  });
  const deletions = (ids: string[]) =>
    deletionsOf({ db: pool, table, dataset, client, index: target.index }, ids);
  try {
    let at = await serverTime(table);
    const { puts: scanned } = await pour(readSnapshot(table, dataset, at), at, batcher, deletions, signal);
    let asOf: string;
    const catchUp = async () => {
      throwIfInterrupted();
      asOf = await databaseClock(pool);
      const now = await serverTime(table);
      await pour(readChanges(table, dataset, at, now), now, batcher, deletions, signal);
      at = now;
    };
    const compared = await compare(job, table, async () => {
      await catchUp();
      return at;
    });
    await catchUp();
    throwIfInterrupted();
    await swap();
    return { ...compared, scanned, record: (db) => resetPosition(db, dataset, at, asOf) };
  } finally {
    await batcher.close();
  }
}

/**
 * Compares table and new index at the end of a scan of changes, where they are equal but for documents that Elasticsearch
 * refused. An image that comes back, just then, after a deletion that was still to be carried out makes another round.
 */
async function compare(
  { dataset, target, options, signal }: FillJob,
  table: Table,
  catchUp: () => Promise<bigint>,
): Promise<IndexReconciliation> {
  const { pool, client, config } = options;
  let last: IndexReconciliation | undefined;
  for (let round = 1; round <= COMPARISONS; round++) {
    const snapshot = await catchUp();
    const gone = await GoneRows.read(pool, dataset);
    const deletions = deletionsOfGone(dataset, gone);
    await applyChanges(deletions, () => target, rebuildContext(options, signal, 'external_gte'));
    last = await reconcileIndex({
      db: pool,
      rows: {
        ...kuduRows(pool, dataset, () => Promise.resolve(table)),
        figures: () => readFigures(table, gone, snapshot),
      },
      client,
      dataset,
      prefix: config.indexPrefix,
      index: target.index,
    });
    const { rows, documents, deadDocuments, equal } = last;
    if (equal || (deadDocuments > 0 && Math.abs(rows - documents) <= deadDocuments)) return last;
  }
  throw notEqual(dataset, last!.rows, last!.documents);
}
