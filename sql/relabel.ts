import pRetry from 'p-retry';
import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { errorCode, type Pool, type PoolClient, type Queryable, transaction } from './database.ts';
import type { Dataset } from './datasets.ts';

/** Images and the class that each is said to be. */
export interface Relabelling {
  ids: string[];
  /** Class index per id; null clears the label, which is a decision too. Of a repeated id the last counts. */
  labels: (number | null)[];
  /**
   * With a selection (in its order): per id what `relabelSelection` read of it: an image whose label or bytes are others by now is left alone. Without:
   * whatever an image is by now, it gets its label.
   */
  states?: Int32Array;
}

export interface RelabelOptions {
  /** Who says so. */
  by: string;
  /** What was asked for, for the history. */
  detail: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface RelabelResult {
  /** What `undoRelabel` takes; null: nothing was changed. */
  operation: number | null;
  images: number;
  /** Got another label. */
  changed: number;
  /** Had it from the producer; now a person says so too, and no message changes it. */
  confirmed: number;
  /** A person had said the same before. */
  unchanged: number;
  /** Left alone: their label or their bytes changed after they were selected. */
  changedMeanwhile: number;
  /** Not in the dataset (any more). */
  missing: string[];
}

/** Sees the result before it is committed; what it throws takes all back. */
export type RelabelCheck = (result: RelabelResult) => void;

/** Rows per statement: progress is seen, and an interrupt is obeyed, between two of them. */
export const ROWS_AT_ONCE = 5000;
/** Deadlocks with writers that lock in another order, e.g. a person's transaction: Postgres ends one of the two. */
const RETRIES = 5;
const DEADLOCK = '40P01';

/** Columns that `relabelSelection` reads. */
export const LABEL_COLUMNS = ['known_label', 'labelled_by', 'labelled_at', 'sha256'];

/** What must be the same when an image is written as when it was selected, of the row `i`. */
export const LABEL_STATE = 'hashtext(row(i.known_label, i.labelled_by, i.labelled_at, i.sha256)::text)';

/**
 * The images of a selection, in id order, with what `relabelImages` compares; `client` is in a read-only transaction.
 * @param from what follows FROM (`selectionSql`), with the image as `i`
 */
export async function relabelSelection(
  client: Queryable,
  from: string,
): Promise<{ ids: string[]; states: Int32Array; labels: (number | null)[] }> {
  const { rows } = await client.query<{ ids: string[]; states: number[]; labels: (number | null)[] }>(
    `select coalesce(array_agg(id), '{}') as ids, coalesce(array_agg(state), '{}') as states,
            coalesce(array_agg(known_label), '{}') as labels
     from (select i.id, ${LABEL_STATE} as state, i.known_label from ${from} order by i.id) chosen`,
  );
  const { ids, states, labels } = rows[0]!;
  return { ids, states: Int32Array.from(states), labels };
}

/**
 * Says of images what class they are, in one transaction: all of it happens, or nothing. Rows are locked in the order
 * of their ids, as the ingest does; a deadlock is retried.
 * @throws HubError INTERRUPTED when `signal` is aborted, CONFLICT when deadlocks do not end; nothing was changed then.
 */
export async function relabelImages(
  pool: Pool,
  { name: dataset }: Pick<Dataset, 'name'>,
  relabelling: Relabelling,
  options: RelabelOptions,
  check: RelabelCheck = () => undefined,
): Promise<RelabelResult> {
  await analyzeStale(pool, dataset, relabelling.ids.length);
  return retryDeadlocks(() =>
    transaction(pool, (client) =>
      relabelInChunks(client, relabelling, options, check, (chunk) => writeLabels(client, dataset, chunk)),
    ),
  );
}

/**
 * An operation chunk by chunk, in the order of ids.
 * @param client in the transaction that all of it happens in
 * @param write what becomes of a chunk, whose ids differ
 * @throws HubError INTERRUPTED; what `check` throws
 */
export async function relabelInChunks(
  client: PoolClient,
  { ids, labels, states }: Relabelling,
  { by, detail, signal, onProgress }: RelabelOptions,
  check: RelabelCheck,
  write: (chunk: Relabelling, operation: number) => Promise<Written>,
): Promise<RelabelResult> {
  const operation = await beginOperation(client, by, detail);
  const total: RelabelResult = {
    operation,
    images: 0,
    changed: 0,
    confirmed: 0,
    unchanged: 0,
    changedMeanwhile: 0,
    missing: [],
  };
  // A selection comes in the order of ids.
  const order = states ? Int32Array.from(ids.keys()) : await inIdOrder(client, ids);
  total.images = order.length;
  for (let from = 0; from < order.length; from += ROWS_AT_ONCE) {
    throwIfAborted(signal);
    const chunk = order.subarray(from, from + ROWS_AT_ONCE);
    const done = await write(
      {
        ids: Array.from(chunk, (at) => ids[at]!),
        labels: Array.from(chunk, (at) => labels[at]!),
        ...(states && { states: chunk.map((at) => states[at]!) }),
      },
      operation,
    );
    total.changed += done.changed;
    total.confirmed += done.confirmed;
    total.unchanged += done.unchanged;
    total.changedMeanwhile += done.changedMeanwhile;
    total.missing.push(...done.missing);
    onProgress?.(from + chunk.length, order.length);
  }
  throwIfAborted(signal);
  check(total);
  if (total.changed + total.confirmed > 0) return total;
  await client.query('delete from imagehub.label_operations where operation = $1', [operation]);
  return { ...total, operation: null };
}

/** Opens the operation that the labels of this transaction belong to, and says who acts. */
async function beginOperation(client: PoolClient, by: string, detail: string): Promise<number> {
  const { rows } = await client.query<{ operation: number }>(
    `insert into imagehub.label_operations (action, detail, done_by) values ('relabel', $1, $2) returning operation`,
    [detail, by],
  );
  const { operation } = rows[0]!;
  await client.query(
    `select set_config('imagehub.label_operation', $1, true), set_config('imagehub.label_mode', 'confirm', true),
            set_config('imagehub.acting_user', $2, true)`,
    [String(operation), by],
  );
  return operation;
}

/** Positions of the ids in the order that the database gives them; a repeated id stands once. */
export async function inIdOrder(client: Queryable, ids: string[]): Promise<Int32Array> {
  const { rows } = await client.query<{ positions: number[] }>(
    `select coalesce(array_agg(position order by id), '{}') as positions
     from (select t.id, max(t.position)::int - 1 as position
           from unnest($1::text[]) with ordinality as t (id, position) group by t.id) once`,
    [ids],
  );
  return Int32Array.from(rows[0]!.positions);
}

/** What became of some images. */
export type Written = Omit<RelabelResult, 'operation' | 'images'>;

async function writeLabels(
  client: PoolClient,
  dataset: string,
  { ids, labels, states }: Relabelling,
): Promise<Written> {
  const { rows } = await client.query<Omit<Written, 'missing'>>({
    name: `relabel-${dataset}`,
    text: `
with locked as (
  select i.id, t.label, t.state is not null and t.state <> ${LABEL_STATE} as other,
         i.known_label is distinct from t.label as changes, i.labelled_by is null as confirms
  from unnest($1::text[], $2::int[], $3::int[]) as t (id, label, state)
    join public."${dataset}" i on i.dataset = '${dataset}' and i.id = t.id
  order by i.id for update of i
), written as (
  update public."${dataset}" i set known_label = l.label, labelled_by = imagehub.acting_user(), labelled_at = now()
  from locked l
  where i.dataset = '${dataset}' and i.id = l.id and not l.other and (l.changes or l.confirms)
)
select count(*) filter (where not other and changes)::int as changed,
       count(*) filter (where not other and not changes and confirms)::int as confirmed,
       count(*) filter (where not other and not changes and not confirms)::int as unchanged,
       count(*) filter (where other)::int as "changedMeanwhile"
from locked`,
    values: [ids, labels, states ? Array.from(states) : ids.map(() => null)],
  });
  const written = rows[0]!;
  const found = written.changed + written.confirmed + written.unchanged + written.changedMeanwhile;
  return { ...written, missing: found === ids.length ? [] : await missingIds(client, dataset, ids) };
}

async function missingIds(client: PoolClient, dataset: string, ids: string[]): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select t.id from unnest($2::text[]) as t (id)
     where not exists (select from public."${dataset}" i where i.dataset = $1 and i.id = t.id)`,
    [dataset, ids],
  );
  return rows.map(({ id }) => id);
}

export interface UndoResult {
  /** The operation that the undoing itself is. */
  operation: number;
  undone: number;
  /** Have the label again that they had before, by whom they had it. */
  restored: number;
  /** Left alone: relabelled since. */
  changedSince: number;
  /** Deleted since. */
  deleted: number;
}

/**
 * Takes an operation back: every image gets the label that it had, by whom it had it (a producer's label is the
 * producer's again, and messages may change it). Images relabelled since are left alone and counted.
 * @throws HubError NOT_FOUND when the dataset has no such operation
 */
export async function undoRelabel(
  pool: Pool,
  dataset: string,
  operation: number,
  { by, detail }: Pick<RelabelOptions, 'by' | 'detail'>,
): Promise<UndoResult> {
  const { rows: changes } = await pool.query<{ n: number }>(
    'select count(*) as n from imagehub.label_changes where operation = $1',
    [operation],
  );
  await analyzeStale(pool, dataset, changes[0]!.n);
  return retryDeadlocks(() =>
    transaction(pool, async (client) => {
      await actAs(client, by);
      const { rows } = await client.query<UndoResult>(
        `select operation, $2::bigint as undone, restored, changed_since as "changedSince", deleted
         from imagehub.undo_labels($1, $2, $3)`,
        [dataset, operation, detail],
      );
      return rows[0]!;
    }),
  ).catch((error: unknown) => {
    if (errorCode(error) !== 'P0002') throw error;
    throw noSuchOperation(dataset, operation, error);
  });
}

export const noSuchOperation = (dataset: string, operation: number, cause?: unknown): HubError =>
  new HubError('NOT_FOUND', `${dataset} has no relabelling ${operation}.`, {
    hint: `imagehub relabel history ${dataset}`,
    cause,
  });

/** Of fewer rows it does not matter how they are looked up. */
const MANY_ROWS = 1000;

/**
 * A table that was filled since autovacuum came by is taken for one of a row or two: looking up some thousand ids then
 * compares each with each (12,000 took 40 s). So Postgres is made to look, where it thinks that there are fewer rows than
 * are to be written.
 */
async function analyzeStale(pool: Pool, dataset: string, rows: number): Promise<void> {
  if (rows < MANY_ROWS) return;
  const { rows: stale } = await pool.query(
    'select from pg_class where oid = $1::regclass and reltuples < $2',
    [`public."${dataset}"`, rows],
  );
  // Somebody who may not gets a warning, no error.
  if (stale.length > 0) await pool.query(`analyze public."${dataset}"`);
}

/** Runs a transaction again when Postgres ended it for a deadlock. */
export function retryDeadlocks<T>(work: () => Promise<T>): Promise<T> {
  return pRetry(work, {
    retries: RETRIES,
    minTimeout: 100,
    randomize: true,
    shouldRetry: ({ error }) => errorCode(error) === DEADLOCK,
  }).catch((error: unknown) => {
    if (errorCode(error) !== DEADLOCK) throw error;
    throw new HubError('CONFLICT', 'Other writers hold the same images in another order (deadlock).', {
      hint: 'Nothing was changed. Try again, or look for a long transaction: select * from pg_stat_activity.',
      cause: error,
    });
  });
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted; nothing was changed.');
}
