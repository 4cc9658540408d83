import type { Pool } from '../../sql/database.ts';
import { guardedTransaction } from '../write/guarded-transaction.ts';
import type { WriteContext } from '../write/guarded-write.ts';

/** Images per transaction: what else is written to them waits no longer than for so many. */
const AT_ONCE = 5000;

/**
 * Writes the labels that are promised in the dataset to Kudu, as far as others do not.
 * @param onWritten is told how many more, after each transaction
 * @returns how many
 */
export async function carryOutLabels(
  context: WriteContext,
  pool: Pool,
  dataset: string,
  onWritten: (images: number) => void = () => undefined,
): Promise<number> {
  for (let done = 0; ;) {
    const { rows } = await pool.query<{ id: string }>(
      'select id from imagehub.pending_labels where dataset = $1 order by id limit $2',
      [dataset, AT_ONCE],
    );
    if (rows.length === 0) return done;
    const ids = rows.map(({ id }) => id);
    // To begin a write is to write what is promised.
    await guardedTransaction(context, pool, { dataset, ids, work: () => Promise.resolve() });
    onWritten(ids.length);
    done += ids.length;
  }
}
