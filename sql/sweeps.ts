import { HubError } from '../errors.ts';
import type { PoolClient, Queryable } from './database.ts';
import { OPEN_STATES } from './jobs.ts';
import { ALIVE } from './lifeline.ts';

export type CellState = 'waiting' | 'running' | 'done' | 'diverged' | 'failed';

export interface Sweep {
  sweep: number;
  dataset: string;
  /** classifier/sweep/spec.ts knows what is in it. */
  spec: Record<string, unknown>;
  createdBy: string;
  createdAt: Date;
}

/** A sweep with how far it is. */
export interface SweepSummary extends Sweep {
  cells: number;
  states: Record<CellState, number>;
  bestAccuracy: number | null;
  /** Of training, summed. */
  seconds: number;
}

/** What a finished cell reached, on images that it was not trained on. */
export interface CellResult {
  dataSha256: string;
  trainImages: number;
  testImages: number;
  accuracy: number | null;
  /** Plain means over the classes. */
  precision: number | null;
  recall: number | null;
  f1: number | null;
  logLoss: number | null;
  trainAccuracy: number | null;
  seconds: number;
}

export interface NewCell {
  /** The window of data; null: all. */
  label: string | null;
  where: string | null;
  since: Date | null;
  until: Date | null;
  settings: object;
  /** Finds cells with the same settings. */
  settingsHash: Buffer;
}

/** One training of a sweep. */
export interface Cell
  extends Omit<NewCell, 'settings' | 'settingsHash'>, Partial<Record<keyof CellResult, unknown>> {
  sweep: number;
  cell: number;
  settings: Record<string, unknown>;
  settingsHash: Buffer;
  state: CellState;
  run: number | null;
  dataSha256: string | null;
  trainImages: number | null;
  testImages: number | null;
  accuracy: number | null;
  precision: number | null;
  recall: number | null;
  f1: number | null;
  logLoss: number | null;
  trainAccuracy: number | null;
  seconds: number | null;
  error: string | null;
  /** Its network is stored. */
  stored: boolean;
  /** Of its network. */
  manifest: unknown;
  /** The model it was registered as; null too when that was deleted. */
  model: number | null;
  finishedAt: Date | null;
}

/** The wanted cells as rows, and whether a cell `c` is the wanted `w`. */
const WANTED = `select * from rows from (jsonb_to_recordset($2::jsonb) as (
    label text, "where" text, since timestamptz, until timestamptz, settings jsonb, hash text))
  with ordinality as t (label, "where", since, until, settings, hash, place)`;
const IS_WANTED = `c.sweep_id = $1 and c.settings_hash = decode(w.hash, 'hex')
  and (c.data_window, c.where_sql, c.since, c.until) is not distinct from (w.label, w."where", w.since, w.until)`;

/**
 * Stores a sweep with its cells, or finds the one with the same specification. Cells it has already stay as they are,
 * those that failed wait again, and new ones (of windows that were not there before) are added.
 * @returns its number, and those of the cells in the order given
 */
export async function storeSweep(
  client: PoolClient,
  { dataset, spec, specHash }: { dataset: string; spec: object; specHash: Buffer },
  cells: NewCell[],
): Promise<{ sweep: number; cells: number[] }> {
  // The update locks the row: two who start the same sweep come one after the other.
  const { rows } = await client.query<{ id: number }>(
    `insert into imagehub.sweeps (dataset, spec, spec_hash) values ($1, $2, $3)
     on conflict (dataset, spec_hash) do update set spec = excluded.spec returning id`,
    [dataset, JSON.stringify(spec), specHash],
  );
  const sweep = rows[0]!.id;
  await client.query(
    "update imagehub.sweep_cells set state = 'waiting', error = null where sweep_id = $1 and state = 'failed'",
    [sweep],
  );
  const wanted = cells.map(({ settingsHash, ...cell }) => ({ ...cell, hash: settingsHash.toString('hex') }));
  const values = [sweep, JSON.stringify(wanted)];
  await client.query(
    `with w as (${WANTED}),
     missing as (select *, row_number() over (order by place) - 1 as next from w
                  where not exists (select from imagehub.sweep_cells c where ${IS_WANTED}))
     insert into imagehub.sweep_cells (sweep_id, cell, data_window, where_sql, since, until, settings, settings_hash)
     select $1, next + (select count(*) from imagehub.sweep_cells where sweep_id = $1), label, "where", since, until,
            settings, decode(hash, 'hex')
       from missing`,
    values,
  );
  const placed = await client.query<{ cell: number }>(
    `with w as (${WANTED}) select c.cell from w join imagehub.sweep_cells c on ${IS_WANTED} order by w.place`,
    values,
  );
  return { sweep, cells: placed.rows.map(({ cell }) => cell) };
}

const SWEEP = `select s.id as sweep, s.dataset, s.spec, s.created_by as "createdBy", s.created_at as "createdAt"`;

/** A dataset's sweeps, newest first. */
export async function listSweeps(db: Queryable, dataset: string): Promise<SweepSummary[]> {
  const { rows } = await db.query<SweepSummary>(
    `${SWEEP}, count(*)::int as cells, max(accuracy) filter (where state = 'done') as "bestAccuracy", coalesce(sum(seconds), 0) as seconds,
       jsonb_build_object(${(['waiting', 'running', 'done', 'diverged', 'failed'] satisfies CellState[])
         .map((state) => `'${state}', count(*) filter (where state = '${state}')`)
         .join(', ')}) as states
     from imagehub.sweeps s join imagehub.sweep_cells c on c.sweep_id = s.id
     where s.dataset = $1 group by s.id order by s.id desc`,
    [dataset],
  );
  return rows;
}

/** @throws HubError NOT_FOUND */
export async function getSweep(db: Queryable, dataset: string, sweep: number): Promise<Sweep> {
  const { rows } = await db.query<Sweep>(
    `${SWEEP} from imagehub.sweeps s where s.dataset = $1 and s.id = $2`,
    [dataset, sweep],
  );
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `Dataset ${dataset} has no sweep ${sweep}.`, {
    hint: `imagehub sweep list ${dataset} shows them.`,
  });
}

const CELL = `
  select c.sweep_id as sweep, c.cell, c.data_window as label, c.where_sql as "where", c.since, c.until, c.settings,
         c.settings_hash as "settingsHash", c.state, c.run_id as run, c.data_sha256 as "dataSha256",
         c.train_images as "trainImages", c.test_images as "testImages", c.accuracy, c.precision, c.recall, c.f1,
         c.log_loss as "logLoss", c.train_accuracy as "trainAccuracy", c.seconds, c.error,
         c.onnx is not null as stored, c.manifest, c.finished_at as "finishedAt",
         (select m.id from imagehub.models m where m.id = c.model_id and m.deleted_at is null) as model
  from imagehub.sweep_cells c`;

/** The cells of a sweep in their order. */
export async function listCells(db: Queryable, sweep: number): Promise<Cell[]> {
  return (await db.query<Cell>(`${CELL} where c.sweep_id = $1 order by c.cell`, [sweep])).rows;
}

/** @throws HubError NOT_FOUND: the sweep was deleted. */
export async function getCell(db: Queryable, sweep: number, cell: number): Promise<Cell> {
  const { rows } = await db.query<Cell>(`${CELL} where c.sweep_id = $1 and c.cell = $2`, [sweep, cell]);
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `Sweep ${sweep} has no cell ${cell}.`);
}

/** A finished cell of any of the dataset's sweeps with the same settings on the same data, the given one excepted. */
export async function findComputed(
  db: Queryable,
  dataset: string,
  { sweep, cell, settingsHash }: Cell,
  dataSha256: string,
): Promise<Cell | undefined> {
  const { rows } = await db.query<Cell>(
    `${CELL} join imagehub.sweeps s on s.id = c.sweep_id
     where s.dataset = $1 and c.settings_hash = $2 and c.data_sha256 = $3 and c.state in ('done', 'diverged')
       and (c.sweep_id, c.cell) <> ($4, $5)
     order by c.onnx is null, c.finished_at desc limit 1`,
    [dataset, settingsHash, dataSha256, sweep, cell],
  );
  return rows[0];
}

/** Takes over what another cell with the same settings and data reached, its network too. */
export async function copyResult(db: Queryable, to: Cell, from: Cell): Promise<void> {
  const columns = `state, run_id, data_sha256, train_images, test_images, accuracy, precision, recall, f1, log_loss,
    train_accuracy, seconds, error, onnx, manifest, model_id, finished_at`;
  await db.query(
    `update imagehub.sweep_cells c set (${columns}) = (
       select ${columns} from imagehub.sweep_cells o where o.sweep_id = $3 and o.cell = $4)
     where c.sweep_id = $1 and c.cell = $2`,
    [to.sweep, to.cell, from.sweep, from.cell],
  );
}

/** Whether a cell has its result on these data. */
export const isComputed = ({ state, dataSha256 }: Cell, sha256: string): boolean =>
  dataSha256 === sha256 && (state === 'done' || state === 'diverged');

/** What a cell has reached, forgotten. */
const NOTHING_REACHED = `data_sha256 = null, train_images = null, test_images = null, accuracy = null, precision = null,
  recall = null, f1 = null, log_loss = null, train_accuracy = null, seconds = null, onnx = null, manifest = null,
  model_id = null`;

/**
 * Says which run a cell is being trained by. What it reached before, on other data, is forgotten.
 * @returns false: it has been computed on these data meanwhile
 */
export async function beginCell(
  db: Queryable,
  { sweep, cell }: Cell,
  run: number,
  dataSha256: string,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.sweep_cells
        set state = 'running', run_id = $3, error = null, finished_at = null, ${NOTHING_REACHED}
      where sweep_id = $1 and cell = $2
        and not (state in ('done', 'diverged') and data_sha256 is not distinct from $4)`,
    [sweep, cell, run, dataSha256],
  );
  return rowCount === 1;
}

/** Not done: somebody else, or a later time, goes on. A cell that another has begun since is left alone. */
export async function releaseCell(db: Queryable, { sweep, cell }: Cell, run: number): Promise<void> {
  await db.query(
    `update imagehub.sweep_cells set state = 'waiting'
     where sweep_id = $1 and cell = $2 and state = 'running' and run_id = $3`,
    [sweep, cell, run],
  );
}

export async function finishCell(
  db: Queryable,
  { sweep, cell }: Cell,
  run: number,
  state: 'done' | 'diverged',
  result: CellResult & { error: string | null; onnx: Uint8Array | null; manifest: object },
): Promise<void> {
  const { onnx } = result;
  await db.query(
    `update imagehub.sweep_cells set state = $3, run_id = $4, data_sha256 = $5, train_images = $6, test_images = $7,
       accuracy = $8, precision = $9, recall = $10, f1 = $11, log_loss = $12, train_accuracy = $13, seconds = $14,
       error = $15, onnx = $16, manifest = $17, finished_at = clock_timestamp()
     where sweep_id = $1 and cell = $2`,
    [
      sweep,
      cell,
      state,
      run,
      result.dataSha256,
      result.trainImages,
      result.testImages,
      result.accuracy,
      result.precision,
      result.recall,
      result.f1,
      result.logLoss,
      result.trainAccuracy,
      result.seconds,
      result.error,
      onnx && Buffer.from(onnx.buffer, onnx.byteOffset, onnx.byteLength),
      JSON.stringify(result.manifest),
    ],
  );
}

/** It cannot be trained, e.g. for want of images; the others can. What it reached before, on other data, is forgotten. */
export async function failCell(
  db: Queryable,
  { sweep, cell }: Cell,
  { run, error }: { run: number | null; error: string },
): Promise<void> {
  await db.query(
    `update imagehub.sweep_cells
        set state = 'failed', run_id = $4, error = $3, finished_at = clock_timestamp(), ${NOTHING_REACHED}
      where sweep_id = $1 and cell = $2`,
    [sweep, cell, error.replaceAll('\0', '␀'), run],
  );
}

/** Whether a living process trains one of a sweep's cells. @param client in a transaction, which asks for the locks */
export async function isBeingTrained(client: PoolClient, sweep: number): Promise<boolean> {
  const { rowCount } = await client.query(
    `select from imagehub.sweep_cells where sweep_id = $1 and state = 'running'
        and not pg_try_advisory_xact_lock($2, run_id::int)`,
    [sweep, ALIVE],
  );
  return rowCount !== 0;
}

/** The jobs about a sweep that are not at their end. */
export async function openJobs(db: Queryable, sweep: number): Promise<number[]> {
  const { rows } = await db.query<{ id: number }>(
    `select id from imagehub.jobs j where kind = 'sweep' and state in ${OPEN_STATES}
        and exists (select from imagehub.job_parts where job = j.id and (what ->> 'sweep')::bigint = $1) order by id`,
    [sweep],
  );
  return rows.map(({ id }) => id);
}

/** Cells of one sweep are finished one after the other, so that each sees the networks that the others keep. */
export async function lockSweep(client: PoolClient, sweep: number): Promise<void> {
  await client.query('select from imagehub.sweeps where id = $1 for no key update', [sweep]);
}

/** Lets go of the stored networks beyond the `keep` best by accuracy. */
export async function trimNetworks(db: Queryable, sweep: number, keep: number): Promise<void> {
  await db.query(
    `update imagehub.sweep_cells set onnx = null
     where sweep_id = $1 and onnx is not null and cell not in (
       select cell from imagehub.sweep_cells where sweep_id = $1 and onnx is not null
       order by accuracy desc nulls last, cell limit $2)`,
    [sweep, keep],
  );
}

/** The stored network of a cell; null: it is not kept. */
export async function readNetwork(db: Queryable, sweep: number, cell: number): Promise<Buffer | null> {
  const { rows } = await db.query<{ onnx: Buffer | null }>(
    'select onnx from imagehub.sweep_cells where sweep_id = $1 and cell = $2',
    [sweep, cell],
  );
  return rows[0]?.onnx ?? null;
}

export async function cellIsRegistered(
  db: Queryable,
  sweep: number,
  cell: number,
  model: number,
): Promise<void> {
  await db.query('update imagehub.sweep_cells set model_id = $3 where sweep_id = $1 and cell = $2', [
    sweep,
    cell,
    model,
  ]);
}
