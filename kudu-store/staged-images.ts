import type { RecordBatch } from 'apache-arrow';
import pg from 'pg';
import type { Scan, Where } from '../kudu/index.ts';
import { CopyWriter } from '../sql/binary-copy.ts';
import { copyIn } from '../sql/copy-in.ts';
import type { PoolClient } from '../sql/database.ts';
import type { ImagesInSql, SqlRequest } from '../sql/stored-images.ts';
import { rowWriter } from './column-writers.ts';
import { STORE_COLUMN_TYPES } from './columns.ts';
import { scanOf, type TableSnapshot } from './read-rows.ts';

/** Always there. */
const BASIC = ['id', 'known_label', 'ingested_at'];
const TABLETS_AT_ONCE = 4;

/**
 * Puts a dataset's rows, of few columns, into a temporary table of the connection, typed as in the image table, so that the
 * same statements that select images in Postgres select them here. It is named like the dataset, so that a user's condition
 * can name it, and ids are ordered by their bytes, as in Kudu. It is gone with the transaction.
 * @param client in a transaction that may still write
 */
export async function stageImages(
  client: PoolClient,
  snapshot: TableSnapshot,
  request: SqlRequest,
): Promise<ImagesInSql> {
  const { dataset } = request;
  const relation = `pg_temp."${dataset}"`;
  const columns = stagedColumns(request);
  const list = columns.map((name) => (name === 'id' ? 'i.id collate "C" as id' : `i.${name}`));
  const name = pg.escapeLiteral(dataset);
  await client.query(
    `create temp table "${dataset}" on commit drop as select i.dataset, ${list.join(', ')} from public.images i with no data;
     alter table ${relation} alter dataset set default ${name}`,
  );
  const scan = scanOf(snapshot, columns, whereOf(request), { parallel: TABLETS_AT_ONCE });
  const rows = encoded(scan, snapshot, columns);
  await copyIn(client, `copy ${relation} (${columns.join(', ')}) from stdin (format binary)`, rows);
  snapshot.at ??= scan.snapshot;
  await client.query(`analyze ${relation}`);
  return { dataset, relation };
}

/** Those that may be named: what is a word of a condition and a column's name is taken for one. */
function stagedColumns({ selection = {}, columns = [], conditions = [] }: SqlRequest): string[] {
  const texts = [selection.where, selection.condition, ...conditions];
  const words = texts.flatMap((text) => text?.toLowerCase().match(/\w+/g) ?? []);
  return [...new Set([...BASIC, ...columns, ...words.filter((word) => STORE_COLUMN_TYPES.has(word))])];
}

/** What the servers can tell of a request, so that fewer rows come. */
export function whereOf({ selection = {}, from, before, through }: SqlRequest): Where {
  const { since, until, where, sample, drawn } = selection;
  // It may ask for other rows of the dataset.
  if (/\bselect\b/i.test(where ?? '')) return {};
  // A sample of each class is drawn from all of it.
  const whole = sample?.byClass && !drawn;
  return {
    ...condition('id', whole ? {} : { gte: from, lt: before, lte: through }),
    ...condition('ingested_at', { gte: since, lt: until }),
  };
}

function condition(column: string, parts: Record<string, string | Date | null | undefined>): Where {
  const given = Object.entries(parts).filter(([, value]) => value !== undefined && value !== null);
  return given.length === 0 ? {} : { [column]: Object.fromEntries(given) };
}

async function* encoded(
  scan: Scan,
  { gone }: TableSnapshot,
  columns: readonly string[],
): AsyncGenerator<Uint8Array> {
  const out = new CopyWriter();
  for await (const batch of scan as AsyncIterable<RecordBatch>) {
    const write = rowWriter(batch, columns);
    const isGone = gone.of(batch);
    for (let row = 0; row < batch.numRows; row++) if (!isGone?.(row)) write(out, row);
    yield out.take();
  }
}
