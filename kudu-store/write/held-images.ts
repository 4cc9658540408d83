import type { PoolClient } from '../../sql/database.ts';
import type { HeldImage } from '../../sql/image-store.ts';
import { rowsOf } from '../../kudu/index.ts';
import { GoneRows } from '../read/gone-rows.ts';
import { scanIds } from '../scan-ids.ts';
import { kuduProblem } from '../table.ts';
import type { WriteContext } from './guarded-write.ts';
import { lockStripes, stripesOf } from './stripes.ts';

/**
 * Images as they are, with the locks of those who write them held until the transaction ends.
 *
 * A write whose process lost its lock may still arrive: its transaction fails, and whoever does it again says anew what it says
 * of the image, after us.
 * @throws HubError SERVER_UNREACHABLE; KuduError
 */
export async function holdImages(
  { tables, sidePool }: Pick<WriteContext, 'tables' | 'sidePool'>,
  client: PoolClient,
  dataset: string,
  ids: readonly string[],
): Promise<HeldImage[]> {
  await lockStripes(client, dataset, stripesOf(ids));
  const gone = await GoneRows.read(client, dataset);
  const held: HeldImage[] = [];
  try {
    const table = await tables.get(sidePool, dataset);
    for await (const batch of scanIds(table, ['id', 'revision', 'sha256'], ids)) {
      const isGone = gone.of(batch);
      let at = 0;
      for (const { id, revision, sha256 } of rowsOf(batch)) {
        if (isGone?.(at++)) continue;
        held.push({
          id: id as string,
          revision: Number(revision),
          sha256: sha256 === null ? null : Buffer.from(sha256 as string, 'hex'),
        });
      }
    }
  } catch (error) {
    tables.forget(dataset);
    throw kuduProblem(error);
  }
  return held;
}
