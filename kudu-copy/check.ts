import { fence } from '../indexer/slot.ts';
import { formatLsn } from '../indexer/lsn.ts';
import { pause } from '../indexer/backoff.ts';
import { HubError } from '../errors.ts';
import type { Client, Table } from '../kudu/index.ts';
import { CopyWriter as BinaryRows } from '../sql/binary-copy.ts';
import { copyIn } from '../sql/copy-in.ts';
import { type Pool, type Queryable, transaction } from '../sql/database.ts';
import { copySlots } from './slot.ts';
import { findCopy, type KuduCopy } from './state.ts';
import { openOurTable } from './table.ts';

/** What is wrong with one image in the copy. */
export interface CopyDifference {
  id: string;
  kind: 'missing' | 'extra' | 'older' | 'newer';
  /** Of Postgres, and of the copy; null: there is none. */
  row: number | null;
  copy: number | null;
}

export interface CopyCheck {
  dataset: string;
  table: string;
  rows: number;
  copiedRows: number;
  /** How many differ, and the first of them. */
  different: number;
  differences: CopyDifference[];
  equal: boolean;
}

export interface CheckOptions {
  pool: Pool;
  kudu: Client;
  /** How long the copy may take to come up to where Postgres is now. */
  waitMs: number;
  signal: AbortSignal;
}

/** Looked at twice, so that what is only late is told from what is wrong; beyond that many it is wrong enough. */
const MOST_LOOKED_AT = 10_000;
const MOST_SHOWN = 100;
const LOOK_AGAIN_MS = 200;
/** Conditions of one scan. */
const IDS_AT_ONCE = 500;

/**
 * Compares a copy with its dataset by revision, once it has come to where Postgres is now. Changes may go on meanwhile: what
 * differs is looked at again when the copy has come further.
 * @throws HubError NOT_FOUND, NOT_CONSISTENT: the copy does not come up in time; INTERRUPTED
 */
export async function checkCopy(dataset: string, options: CheckOptions): Promise<CopyCheck> {
  const { pool, kudu } = options;
  const copy = await getCopy(pool, dataset);
  await caughtUp(copy, options);
  const table = await openOurTable(kudu, copy);
  const { rows, copiedRows, different, first } = await compareAll(pool, copy, table);
  const lasting = first.length === 0 ? [] : await thoseThatLast(first, copy, table, options);
  return {
    dataset,
    table: copy.tableName,
    rows,
    copiedRows,
    different: lasting.length + Math.max(0, different - first.length),
    differences: lasting.slice(0, MOST_SHOWN),
    equal: lasting.length === 0,
  };
}

/** @throws HubError NOT_FOUND */
export async function getCopy(db: Queryable, dataset: string): Promise<KuduCopy> {
  const copy = await findCopy(db, dataset);
  if (copy) return copy;
  throw new HubError('NOT_FOUND', `Dataset ${dataset} has no copy in Kudu.`, {
    hint: `Make one with: imagehub kudu-copy create ${dataset}`,
  });
}

/** Resolves when the copy has everything that is in Postgres now. */
async function caughtUp(
  { dataset, copyNo }: KuduCopy,
  { pool, waitMs, signal }: CheckOptions,
): Promise<void> {
  const mark = await fence(pool);
  for (const end = Date.now() + waitMs; ; await pause(LOOK_AGAIN_MS, signal)) {
    if (signal.aborted) throw new HubError('INTERRUPTED', 'Interrupted.');
    const { state, reason } = await getCopy(pool, dataset);
    if (state === 'stopped') throw notInStep(`The copy of ${dataset} is stopped: ${reason}.`, dataset);
    const slot = (await copySlots(pool)).get(copyNo);
    if (state === 'following' && slot && slot.confirmed !== null && slot.confirmed > mark) return;
    if (Date.now() < end) continue;
    const where = state === 'copying' ? 'is still being made' : `has not come to ${formatLsn(mark)}`;
    throw notInStep(`The copy of ${dataset} ${where} after ${waitMs / 1000} s.`, dataset);
  }
}

const notInStep = (message: string, dataset: string) =>
  new HubError('NOT_CONSISTENT', message, {
    hint: `imagehub kudu-copy show ${dataset} says how it stands; imagehub run copy keeps copies in step; --wait allows more time.`,
  });

interface Comparison {
  rows: number;
  copiedRows: number;
  different: number;
  /** The first of them. */
  first: CopyDifference[];
}

/** Brings ids and revisions of the copy to Postgres, which compares. */
async function compareAll(pool: Pool, { dataset }: KuduCopy, table: Table): Promise<Comparison> {
  return transaction(pool, async (client) => {
    await client.query('create temporary table copied (id text, revision bigint) on commit drop');
    let copiedRows = 0;
    for await (const batch of table.scan({
      columns: ['id', 'revision'],
      cacheBlocks: false,
      reuseMemory: true,
    })) {
      const ids = batch.getChild('id') as Iterable<string>;
      const revisions = batch.getChild('revision')!;
      const rows = new BinaryRows();
      let at = 0;
      for (const id of ids) {
        rows.row(2);
        rows.text(id);
        rows.int8(revisions.get(at++) as bigint);
      }
      await copyIn(client, 'copy copied from stdin (format binary)', rows.bytes());
      copiedRows += batch.numRows;
    }
    const counted = await client.query<{ rows: number; different: number; first: CopyDifference[] | null }>(
      `with compared as (
         select coalesce(i.id, c.id) as id, i.revision as row, c.revision as copy
           from (select id, revision from public.images where dataset = $1) i full join copied c using (id)
       ), wrong as (select * from compared where row is distinct from copy)
       select (select count(*) from compared where row is not null) as rows, (select count(*) from wrong) as different,
              (select jsonb_agg(w) from (select id, row, copy from wrong order by id limit ${MOST_LOOKED_AT}) w) as first`,
      [dataset],
    );
    const { rows, different, first } = counted.rows[0]!;
    return { rows, copiedRows, different, first: (first ?? []).map(withKind) };
  });
}

function withKind(found: Omit<CopyDifference, 'kind'>): CopyDifference {
  const { id, row, copy } = found;
  const kind = copy === null ? 'missing' : row === null ? 'extra' : copy < row ? 'older' : 'newer';
  return { id, kind, row, copy };
}

/** Of the differences those that are the same when the copy has come further: what changed meanwhile is alive, and only late. */
async function thoseThatLast(
  found: readonly CopyDifference[],
  copy: KuduCopy,
  table: Table,
  options: CheckOptions,
): Promise<CopyDifference[]> {
  await caughtUp(copy, options);
  const lasting: CopyDifference[] = [];
  for (let start = 0; start < found.length; start += IDS_AT_ONCE) {
    const some = found.slice(start, start + IDS_AT_ONCE);
    const ids = some.map(({ id }) => id);
    const copied = new Map<string, number>();
    for await (const { id, revision } of table
      .scan({ columns: ['id', 'revision'], where: { id: { in: ids } } })
      .rows()) {
      copied.set(id as string, Number(revision));
    }
    const { rows } = await options.pool.query<{ id: string; revision: number }>(
      'select id, revision from public.images where dataset = $1 and id = any ($2)',
      [copy.dataset, ids],
    );
    const now = new Map(rows.map(({ id, revision }) => [id, revision]));
    for (const { id, row } of some) {
      const [inTable, inCopy] = [now.get(id) ?? null, copied.get(id) ?? null];
      if (inTable === row && inTable !== inCopy) lasting.push(withKind({ id, row: inTable, copy: inCopy }));
    }
  }
  return lasting;
}
