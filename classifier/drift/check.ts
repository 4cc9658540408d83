import { errorText, HubError } from '../../errors.ts';
import { type PoolClient, transaction } from '../../sql/database.ts';
import {
  countUnmeasured,
  endAlert,
  giveUpAlert,
  holdDueMonitor,
  type Moment,
  type Monitor,
  raiseAlert,
  scheduleNextCheck,
} from '../../sql/drift-monitors.ts';
import { insertNotice } from '../../sql/drift-notices.ts';
import { insertDriftReport } from '../../sql/drift-reports.ts';
import { compareWindows, type DriftContext, type Reference } from './drift.ts';
import { judge, type Measure, type MeasureValue } from './measures.ts';
import type { DriftReport } from './report.ts';

/** A threshold that is crossed from now on, or no longer. */
export interface Crossing extends MeasureValue {
  threshold: number;
  /** When it was raised. */
  since: Date;
}

/** An alert that ends because its measure cannot be had any more. */
export interface GivenUp {
  measure: Measure;
  value: null;
  noise: null;
  threshold: number;
  since: Date;
  reason: string;
}

/** An alert ends when so many checks in a row could not measure it: one may just have fallen between two deliveries of labels. */
export const GIVE_UP_AFTER_CHECKS = 3;

/** What a check of a monitor has found. */
export interface Check {
  monitor: Monitor;
  /** null: there is none, see problem. */
  report: DriftReport | null;
  raised: Crossing[];
  ended: (Crossing | GivenUp)[];
  /** Why it says nothing: too few images, no reference. */
  problem: string | null;
}

/**
 * Does the check that is due, if one is: compares the newest window, stores the report, and what begins or ends to be over
 * its threshold with what the webhook is to be told, all in one transaction that also sets the next check's time. Any number
 * of processes may call it: each check is done by one of them, and one that is killed leaves it to another.
 * @returns undefined: none is due, or another process does it
 */
export async function checkNextMonitor(
  context: DriftContext,
  signal?: AbortSignal,
): Promise<Check | undefined> {
  return await transaction(context.pool, async (client) => {
    const monitor = await holdDueMonitor(client);
    if (!monitor) return undefined;
    const { report, problem } = await compareNow(context, monitor, signal);
    const raised: Crossing[] = [];
    const ended: (Crossing | GivenUp)[] = [];
    if (report) {
      const stored = await insertDriftReport(client, report, monitor.monitor);
      for (const figure of problem === null ? report.measures : []) {
        const threshold = monitor.thresholds[figure.measure];
        if (threshold === undefined) continue;
        const alert = { monitor: monitor.monitor, report: stored, threshold, ...figure };
        const verdict = judge(figure, threshold);
        if (verdict === 'over' && (await raiseAlert(client, alert))) {
          raised.push({ ...figure, threshold, since: new Date() });
        } else if (verdict === 'fine') {
          const since = await endAlert(client, alert);
          if (since) ended.push({ ...figure, threshold, since });
        }
      }
      if (problem === null) ended.push(...(await giveUp(client, monitor, report, stored)));
      if (monitor.webhook !== null && raised.length + ended.length > 0) {
        await insertNotice(client, monitor.monitor, noticeOf(monitor, report, raised, ended));
      }
    }
    await scheduleNextCheck(client, monitor.monitor, problem);
    return { monitor, report, raised, ended, problem };
  });
}

/** Ends the alerts whose measure has not been had for some checks. @param stored the report's number */
async function giveUp(
  client: PoolClient,
  { monitor }: Monitor,
  report: DriftReport,
  stored: number,
): Promise<GivenUp[]> {
  const measured = report.measures.map(({ measure }) => measure);
  const lost = await countUnmeasured(client, monitor, measured);
  const ended: GivenUp[] = [];
  for (const { measure, threshold, raisedAt: since, checks } of lost) {
    if (checks < GIVE_UP_AFTER_CHECKS) continue;
    const reason = `not measurable in ${checks} checks: ${whyMissing(report, measure)}`;
    await giveUpAlert(client, { monitor, report: stored, measure, reason });
    ended.push({ measure: measure as Measure, value: null, noise: null, threshold, since, reason });
  }
  return ended;
}

function whyMissing({ missing }: DriftReport, measure: string): string {
  const subject = measure.slice(0, measure.lastIndexOf('_'));
  const found = missing.find(
    (each) => each.subject === subject || each.subject === subject.replace('_', ' '),
  );
  return found?.reason ?? 'no labelled image in the reference that the model of the window predicted';
}

/** The window that ends now. */
async function compareNow(
  context: DriftContext,
  monitor: Monitor,
  signal: AbortSignal | undefined,
): Promise<{ report: DriftReport | null; problem: string | null }> {
  const now = new Date();
  const window = { since: new Date(now.getTime() - monitor.windowSeconds * 1000), until: now };
  try {
    const [report] = await compareWindows(context, {
      dataset: monitor.dataset,
      by: monitor.by,
      windows: [window],
      reference: resolve(monitor, now),
      sample: monitor.reference.sample,
      ...(signal && { signal }),
    });
    return { report: report!, problem: tooFew(report!, monitor.minImages) };
  } catch (error) {
    if (error instanceof HubError && error.code === 'INTERRUPTED') throw error;
    // One monitor that cannot be checked must not hold up the others. If the database is away, the caller's next statement
    // fails, and the check stays due.
    return { report: null, problem: errorText(error) };
  }
}

function resolve({ reference }: Monitor, now: Date): Reference {
  if (reference.kind === 'training') return { kind: 'training' };
  const time = (moment: Moment | null) => {
    if (!moment) return null;
    return 'at' in moment ? new Date(moment.at) : new Date(now.getTime() - moment.ago * 1000);
  };
  return { kind: 'span', since: time(reference.since), until: time(reference.until) };
}

function tooFew({ window, reference }: DriftReport, minImages: number): string | null {
  for (const [side, { images }] of Object.entries({ window, reference })) {
    if (images < minImages) {
      return `The ${side} has ${images} image${images === 1 ? '' : 's'}; below ${minImages} nothing is raised or ended.`;
    }
  }
  return null;
}

/** The JSON document that a webhook gets. `text` is what chat programs show (Slack, Mattermost). */
function noticeOf(monitor: Monitor, report: DriftReport, raised: Crossing[], ended: Check['ended']): object {
  const { dataset, window, comparedWith } = report;
  return {
    event: 'drift',
    dataset,
    monitor: monitor.monitor,
    text: crossingText(monitor, raised, ended),
    raised,
    ended,
    window: { since: window.since, until: window.until, images: window.images },
    comparedWith,
    accuracy: report.accuracy,
    notes: report.notes,
  };
}

/** One line for people. */
export function crossingText(
  { dataset }: Pick<Monitor, 'dataset'>,
  raised: Crossing[],
  ended: Check['ended'],
): string {
  const say = (crossing: Crossing | GivenUp) =>
    crossing.value === null
      ? `${crossing.measure} (${crossing.reason})`
      : `${crossing.measure} ${crossing.value.toFixed(3)} (limit ${crossing.threshold})`;
  const parts = [
    ...(raised.length > 0 ? [`drift: ${raised.map(say).join(', ')}`] : []),
    ...(ended.length > 0 ? [`no longer so: ${ended.map(say).join(', ')}`] : []),
  ];
  return `${dataset}: ${parts.join('; ')}`;
}

export const problemText = (error: unknown): string => errorText(error);
