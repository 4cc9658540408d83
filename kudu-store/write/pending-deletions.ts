import type { Pool } from '../../sql/database.ts';
import { guardedTransaction } from './guarded-transaction.ts';
import type { WriteContext } from './guarded-write.ts';

const AT_ONCE = 1000;

/**
 * Takes rows away whose deletion is committed in Postgres: first there, then here, so that a crash in between leaves a row
 * that everybody knows is gone (kudu-store/write/decide.ts), and that whoever comes next takes away.
 * @param onGone is told how many more, after each transaction
 * @returns how many
 */
export async function carryOutDeletions(
  context: WriteContext,
  pool: Pool,
  dataset: string,
  onGone: (images: number) => void = () => undefined,
): Promise<number> {
  for (let done = 0; ;) {
    const { rows } = await pool.query<{ id: string }>(
      'select id from imagehub.deleted_images where dataset = $1 and in_kudu order by id limit $2',
      [dataset, AT_ONCE],
    );
    if (rows.length === 0) return done;
    const gone = await carryOut(
      context,
      pool,
      dataset,
      rows.map(({ id }) => id),
    );
    onGone(gone);
    done += gone;
  }
}

const carryOut = (context: WriteContext, pool: Pool, dataset: string, ids: string[]): Promise<number> =>
  guardedTransaction(context, pool, {
    dataset,
    ids,
    async work(client, write) {
      // Under the lock: an image that came back meanwhile is none of them any more.
      const { rows } = await client.query<{ id: string }>(
        `update imagehub.deleted_images set in_kudu = false
         where dataset = $1 and id = any($2) and in_kudu and restored_at is null returning id`,
        [dataset, ids],
      );
      await write.write(rows.map((row) => ['deleteIgnore', row] as const));
      return rows.length;
    },
  });
