import type { RecordBatch } from 'apache-arrow';
import pg from 'pg';
import type { Condition, Scan, Where } from '../../kudu/index.ts';
import { CopyWriter } from '../../sql/binary-copy.ts';
import { copyIn } from '../../sql/copy-in.ts';
import type { PoolClient } from '../../sql/database.ts';
import type { ImagesInSql, SqlRequest } from '../../sql/stored-images.ts';
import { rowWriter } from './column-writers.ts';
import { STORE_COLUMN_TYPES } from '../columns.ts';
import { scanOf, type TableSnapshot } from './read-rows.ts';

/** Always there. */
const BASIC = ['id', 'known_label', 'ingested_at'];
/** Not narrow. */
const IMAGE = 'image_base64';
/** What the image table has no column for, and images in Kudu have. */
const REDUCED = ['reduced_width', 'reduced_height'];
/** For the books alone (kudu-store/write/decide.ts): to conditions it is no column, as it is none in Postgres. */
const OF_THE_BOOKS = 'inserted';
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
  const list = columns.map(typedColumn);
  const name = pg.escapeLiteral(dataset);
  await client.query(
    `create temp table "${dataset}" on commit drop as select i.dataset, ${list.join(', ')} from public.images i with no data;
     alter table ${relation} alter dataset set default ${name}`,
  );
  const rows = encoded(scansFor(snapshot, request, columns), snapshot, columns);
  await copyIn(client, `copy ${relation} (${columns.join(', ')}) from stdin (format binary)`, rows);
  await client.query(`analyze ${relation}`);
  return { dataset, relation };
}

function typedColumn(name: string): string {
  if (name === 'id') return 'i.id collate "C" as id';
  return REDUCED.includes(name) ? `null::int as ${name}` : `i.${name}`;
}

/** Those that may be named: what is a word of a condition and a column's name is taken for one. */
function stagedColumns({ selection = {}, columns = [], conditions = [], asked = [] }: SqlRequest): string[] {
  const words = [selection.where, selection.condition, ...conditions, ...asked].flatMap(wordsOf);
  const named = words.filter((word) => STORE_COLUMN_TYPES.has(word) && word !== OF_THE_BOOKS);
  return [...new Set([...BASIC, ...columns, ...named])];
}

const wordsOf = (text: string | null | undefined): string[] => text?.toLowerCase().match(/\w+/g) ?? [];

/** What the servers can tell of a request, so that fewer rows come. */
export function whereOf({ selection = {}, asked = [], from, before, through, ids }: SqlRequest): Where {
  const { since, until, where, sample, drawn } = selection;
  // It may ask for other rows of the dataset.
  if ([where, ...asked].some((each) => /\bselect\b/i.test(each ?? ''))) return {};
  // A sample of each class is drawn from all of it.
  const whole = sample?.byClass && !drawn;
  return {
    ...condition('id', whole ? {} : { gte: from, lt: before, lte: through, in: ids }),
    ...condition('ingested_at', { gte: since, lt: until }),
  };
}

function condition(column: string, parts: Condition): Where {
  const given = Object.entries(parts).filter(([, value]) => value !== undefined && value !== null);
  return given.length === 0 ? {} : { [column]: Object.fromEntries(given) };
}

/** Images themselves are read only where a user asks for them, and of rows without a hash. */
function* scansFor(
  snapshot: TableSnapshot,
  request: SqlRequest,
  columns: readonly string[],
): Generator<Scan> {
  const where = whereOf(request);
  const scan = (read: readonly string[], more: Where) =>
    scanOf(snapshot, read, { ...where, ...more }, { parallel: TABLETS_AT_ONCE });
  const asked = [request.selection?.where, ...(request.asked ?? [])];
  if (!columns.includes(IMAGE) || asked.flatMap(wordsOf).includes(IMAGE)) {
    yield scan(columns, {});
    return;
  }
  yield scan(
    columns.filter((name) => name !== IMAGE),
    { sha256: { isNull: false } },
  );
  yield scan(columns, { sha256: null });
}

async function* encoded(
  scans: Iterable<Scan>,
  snapshot: TableSnapshot,
  columns: readonly string[],
): AsyncGenerator<Uint8Array> {
  const out = new CopyWriter();
  for (const scan of scans) {
    for await (const batch of scan as AsyncIterable<RecordBatch>) {
      const write = rowWriter(batch, columns);
      const isGone = snapshot.gone.of(batch);
      for (let row = 0; row < batch.numRows; row++) if (!isGone?.(row)) write(out, row);
      yield out.take();
    }
    snapshot.at ??= scan.snapshot;
  }
}
