import type { PoolClient } from '../../sql/database.ts';
import type { GuardedWrite } from '../write/guarded-write.ts';
import { type LabelRow, readLabelRows } from '../label-rows.ts';
import { leaveOutGone } from '../write/stored-rows.ts';

/**
 * The labels of images that are there: a row whose deletion is committed, or that came back with a batch that is not, counts
 * as gone.
 * @param write holds the locks of the images
 */
export async function readPresent(
  client: PoolClient,
  write: GuardedWrite,
  dataset: string,
  ids: readonly string[],
): Promise<Map<string, LabelRow>> {
  const rows = await readLabelRows(write.table, ids);
  await leaveOutGone(client, write, dataset, rows);
  return rows;
}
