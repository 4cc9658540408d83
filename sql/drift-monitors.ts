import { HubError } from '../errors.ts';
import type { ClientBase, Queryable } from './database.ts';
import type { TimeColumn } from './drift-rows.ts';
import type { Sample } from './selection.ts';

/** A moment, or so many seconds before each check. */
export type Moment = { at: string } | { ago: number };

/** Which images a monitor compares with; of those, and of its windows, maybe a part. */
export type MonitorReference = (
  { kind: 'span'; since: Moment | null; until: Moment | null } | { kind: 'training' }
) & { sample?: Sample };

export interface NewMonitor {
  dataset: string;
  by: TimeColumn;
  everySeconds: number;
  windowSeconds: number;
  reference: MonitorReference;
  /** Largest value that is fine, by measure. */
  thresholds: Record<string, number>;
  /** A window or a reference with fewer raises nothing. */
  minImages: number;
  webhook: string | null;
}

export interface Monitor extends NewMonitor {
  monitor: number;
  createdBy: string;
  createdAt: Date;
  nextAt: Date;
  checkedAt: Date | null;
  /** Why the last check said nothing; null: it did. */
  problem: string | null;
}

const COLUMNS = `m.id as monitor, m.dataset, m.by_time as by, m.every_seconds as "everySeconds",
  m.window_seconds as "windowSeconds", m.reference, m.thresholds, m.min_images as "minImages", m.webhook,
  m.created_by as "createdBy", m.created_at as "createdAt", m.next_at as "nextAt", m.checked_at as "checkedAt", m.problem`;

export async function insertMonitor(db: Queryable, monitor: NewMonitor): Promise<Monitor> {
  const { rows } = await db.query<Monitor>(
    `insert into imagehub.drift_monitors as m
       (dataset, by_time, every_seconds, window_seconds, reference, thresholds, min_images, webhook)
     values ($1, $2, $3, $4, $5, $6, $7, $8) returning ${COLUMNS}`,
    [
      monitor.dataset,
      monitor.by,
      monitor.everySeconds,
      monitor.windowSeconds,
      JSON.stringify(monitor.reference),
      JSON.stringify(monitor.thresholds),
      monitor.minImages,
      monitor.webhook,
    ],
  );
  return rows[0]!;
}

/** With its reports, alerts and calls that are not sent yet. @throws HubError NOT_FOUND */
export async function deleteMonitor(db: Queryable, monitor: number): Promise<Monitor> {
  const { rows } = await db.query<Monitor>(
    `delete from imagehub.drift_monitors m where id = $1 returning ${COLUMNS}`,
    [monitor],
  );
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `There is no drift monitor ${monitor}.`, {
    hint: 'imagehub drift watch list',
  });
}

export interface OpenAlert {
  alert: number;
  measure: string;
  threshold: number;
  raisedAt: Date;
  raisedValue: number;
}

/** A monitor and how it stands. */
export interface MonitorState extends Monitor {
  /** That last now. */
  alerts: OpenAlert[];
  /** Calls of the webhook that are still to be made. */
  pendingNotices: number;
  /** The last call that was given up. */
  failedNotice: { at: Date; error: string } | null;
}

/** @param dataset null: of all */
export async function listMonitors(db: Queryable, dataset: string | null = null): Promise<MonitorState[]> {
  const { rows } = await db.query<Monitor & { pending: number; failedAt: Date | null; error: string | null }>(
    `select ${COLUMNS}, n.pending, f.failed_at as "failedAt", f.error
     from imagehub.drift_monitors m
     left join lateral (
       select count(*) as pending from imagehub.drift_notices
       where monitor_id = m.id and delivered_at is null and failed_at is null) n on true
     left join lateral (
       select failed_at, error from imagehub.drift_notices
       where monitor_id = m.id and failed_at is not null order by id desc limit 1) f on true
     where $1::text is null or m.dataset = $1 order by m.id`,
    [dataset],
  );
  const alerts = await readOpenAlerts(db);
  return rows.map(({ pending, failedAt, error, ...monitor }) => ({
    ...monitor,
    alerts: alerts.get(monitor.monitor) ?? [],
    pendingNotices: pending,
    failedNotice: failedAt === null ? null : { at: failedAt, error: error ?? '' },
  }));
}

/** By monitor. */
export async function readOpenAlerts(db: Queryable): Promise<Map<number, OpenAlert[]>> {
  const { rows } = await db.query<OpenAlert & { monitor: number }>(
    `select monitor_id as monitor, id as alert, measure, threshold, raised_at as "raisedAt", raised_value as "raisedValue"
     from imagehub.drift_crossings where ended_at is null order by id`,
  );
  const byMonitor = new Map<number, OpenAlert[]>();
  for (const { monitor, ...alert } of rows) {
    byMonitor.set(monitor, [...(byMonitor.get(monitor) ?? []), alert]);
  }
  return byMonitor;
}

/**
 * The monitor that has been due for longest, held by the caller's transaction until its end: no other process takes it
 * meanwhile, nor after it, once the next check's time is set.
 */
export async function holdDueMonitor(client: ClientBase): Promise<Monitor | undefined> {
  const { rows } = await client.query<Monitor>(
    `select ${COLUMNS} from imagehub.drift_monitors m where m.next_at <= now()
     order by m.next_at for update skip locked limit 1`,
  );
  return rows[0];
}

/**
 * Sets when a held monitor is due next: on the beat of the checks before, without making up for those that were missed.
 * @param problem why the check said nothing; null: it did
 */
export async function scheduleNextCheck(
  client: ClientBase,
  monitor: number,
  problem: string | null,
): Promise<void> {
  await client.query(
    `update imagehub.drift_monitors
     set checked_at = now(), problem = $2,
         next_at = next_at + every_seconds * interval '1 second'
           * (1 + floor(extract(epoch from clock_timestamp() - next_at) / every_seconds))
     where id = $1`,
    [monitor, problem],
  );
}

/** @returns false: it has been raised before and lasts */
export async function raiseAlert(
  client: ClientBase,
  alert: { monitor: number; report: number; measure: string; threshold: number; value: number },
): Promise<boolean> {
  const { rowCount } = await client.query(
    `insert into imagehub.drift_crossings (monitor_id, measure, threshold, raised_report, raised_value)
     values ($1, $2, $3, $4, $5) on conflict do nothing`,
    [alert.monitor, alert.measure, alert.threshold, alert.report, alert.value],
  );
  return rowCount === 1;
}

/** @returns when it was raised; undefined: there was none */
export async function endAlert(
  client: ClientBase,
  alert: { monitor: number; report: number; measure: string; value: number },
): Promise<Date | undefined> {
  const { rows } = await client.query<{ raised_at: Date }>(
    `update imagehub.drift_crossings set ended_at = now(), ended_report = $2, ended_value = $4
     where monitor_id = $1 and measure = $3 and ended_at is null returning raised_at`,
    [alert.monitor, alert.report, alert.measure, alert.value],
  );
  return rows[0]?.raised_at;
}

export interface UnmeasuredAlert {
  measure: string;
  threshold: number;
  raisedAt: Date;
  /** Checks in a row that could not measure it, this one too. */
  checks: number;
}

/**
 * Counts a check for the open alerts of a monitor whose measure it could not have.
 * @param measured what it did measure
 */
export async function countUnmeasured(
  client: ClientBase,
  monitor: number,
  measured: readonly string[],
): Promise<UnmeasuredAlert[]> {
  const { rows } = await client.query<UnmeasuredAlert>(
    `update imagehub.drift_crossings set unmeasured = case when measure = any($2) then 0 else unmeasured + 1 end
     where monitor_id = $1 and ended_at is null
     returning measure, threshold, raised_at as "raisedAt", unmeasured as checks`,
    [monitor, measured],
  );
  return rows.filter(({ checks }) => checks > 0);
}

/** Ends an alert of which nothing is known any more. */
export async function giveUpAlert(
  client: ClientBase,
  alert: { monitor: number; report: number; measure: string; reason: string },
): Promise<void> {
  await client.query(
    `update imagehub.drift_crossings set ended_at = now(), ended_report = $2, ended_reason = $4
     where monitor_id = $1 and measure = $3 and ended_at is null`,
    [alert.monitor, alert.report, alert.measure, alert.reason],
  );
}

/** The measures of each monitor's newest report. */
export async function readNewestMeasures(
  db: Queryable,
): Promise<{ dataset: string; monitor: number; measure: string; value: number }[]> {
  const { rows } = await db.query<{ dataset: string; monitor: number; measure: string; value: number }>(
    `select w.dataset, w.id as monitor, m.measure, m.value
     from imagehub.drift_monitors w
     join lateral (select id from imagehub.drift_reports where monitor_id = w.id order by id desc limit 1) r on true
     join imagehub.drift_measures m on m.report_id = r.id`,
  );
  return rows;
}
