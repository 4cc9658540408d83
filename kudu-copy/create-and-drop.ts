import { checkPostgres } from '../indexer/slot.ts';
import { pause } from '../indexer/backoff.ts';
import { HubError } from '../errors.ts';
import { type Client, KuduError } from '../kudu/index.ts';
import { errorCode, type Pool } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import { isLockHeld, withSessionLock } from '../sql/session-lock.ts';
import { getCopy } from './check.ts';
import { dropCopySlot } from './slot.ts';
import { copyLock, findCopy, type KuduCopy, recordTable } from './state.ts';
import { createCopyTable, openOurTable } from './table.ts';

export interface NewCopy {
  dataset: string;
  /** Default: the dataset's name. */
  table?: string | undefined;
  partitions: number;
  replicas: number;
}

/**
 * Makes the table of a new copy; whoever keeps copies in step fills it.
 * @throws HubError NOT_FOUND: no such dataset; USAGE: it is in Kudu itself; ALREADY_EXISTS: the copy, or a table of that name; CONFIG_INVALID: Postgres
 * cannot feed copies; KuduError
 */
export async function createCopy(
  pool: Pool,
  kudu: Client,
  wanted: NewCopy,
  signal: AbortSignal,
): Promise<KuduCopy> {
  const { dataset } = wanted;
  const { store } = await getDataset(pool, dataset);
  if (store === 'kudu') {
    throw new HubError('USAGE', `The images of ${dataset} are in Kudu: there is nothing to copy.`, {
      hint: `Their table is named ${dataset}, as the dataset.`,
    });
  }
  await checkPostgres(pool);
  // Under the lock: until the table is there nobody else makes it.
  const made = await withSessionLock(pool, copyLock(dataset), { wait: true, signal }, async () => {
    await recordCopy(pool, wanted);
    const copy = await getCopy(pool, dataset);
    try {
      const table = await createCopyTable(pool, kudu, copy);
      await recordTable(pool, copy.copyNo, table.id);
    } catch (error) {
      await forget(pool, copy);
      if (error instanceof KuduError && error.code === 'ALREADY_PRESENT') throw tableTaken(copy.tableName);
      throw error;
    }
    return getCopy(pool, dataset);
  });
  if (made === null) throw new HubError('INTERRUPTED', 'Interrupted.');
  return made;
}

async function recordCopy(
  pool: Pool,
  { dataset, table = dataset, partitions, replicas }: NewCopy,
): Promise<void> {
  try {
    await pool.query(
      `insert into imagehub.kudu_copies (dataset, table_name, partitions, replicas) values ($1, $2, $3, $4)`,
      [dataset, table, partitions, replicas],
    );
  } catch (cause) {
    if (errorCode(cause) !== '23505') throw cause;
    const own = await findCopy(pool, dataset);
    if (!own) throw tableTaken(table);
    throw new HubError('ALREADY_EXISTS', `Dataset ${dataset} has a copy already: table ${own.tableName}.`, {
      hint: `imagehub kudu-copy show ${dataset}`,
      cause,
    });
  }
}

const forget = (pool: Pool, { copyNo }: KuduCopy) =>
  pool.query('delete from imagehub.kudu_copies where copy_no = $1', [copyNo]);

const tableTaken = (name: string) =>
  new HubError(
    'ALREADY_EXISTS',
    `Kudu has a table ${name} already, or another dataset is to be copied into it.`,
    {
      hint: 'Choose another name with --table, or drop that table first: imagehub writes to no table that it did not make.',
    },
  );

const LOOK_MS = 100;
/** Whoever keeps the copy notices within a second, or when Kudu has answered or not; only a frozen process takes longer. */
const LET_GO_MS = 30_000;

/**
 * Ends a copy, and drops its table unless that is to stay. Whoever keeps it in step notices, and is waited for.
 * @throws HubError NOT_FOUND, CONFLICT: the table of that name is not ours (with keepTable it is not looked at); KuduError
 */
export async function dropCopy(
  pool: Pool,
  kudu: Client | null,
  dataset: string,
  signal: AbortSignal,
): Promise<{ copy: KuduCopy; tableDropped: boolean }> {
  const copy = await getCopy(pool, dataset);
  const hasTable = kudu !== null && (await tableIsThere(kudu, copy));
  await forget(pool, copy);
  for (const end = Date.now() + LET_GO_MS; await isLockHeld(pool, copyLock(dataset));) {
    if (signal.aborted || Date.now() > end) break;
    await pause(LOOK_MS, signal);
  }
  await dropCopySlot(pool, copy);
  if (hasTable) await kudu.deleteTable(copy.tableName);
  return { copy, tableDropped: hasTable };
}

async function tableIsThere(kudu: Client, copy: KuduCopy): Promise<boolean> {
  try {
    await openOurTable(kudu, copy);
    return true;
  } catch (error) {
    if (error instanceof KuduError && error.code === 'NOT_FOUND') return false;
    throw error;
  }
}
