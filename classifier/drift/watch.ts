import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import { listMonitors, readNewestMeasures } from '../../sql/drift-monitors.ts';
import { claimNotices, type Notice, settleNotice } from '../../sql/drift-notices.ts';
import { Troubles } from '../../troubles.ts';
import { type Check, checkNextMonitor, crossingText } from './check.ts';
import type { DriftContext } from './drift.ts';
import { DELIVERED_WITHIN_S, postWebhook, type WebhookOptions } from './webhook.ts';

/** Whether a check is due, or a webhook waits. */
const LOOK_EVERY_MS = 5000;
const TROUBLE = 'drift cannot be watched';

export interface DriftWatchOptions extends DriftContext {
  log: Logger;
  metrics: Metrics;
  signal: AbortSignal;
  everyMs?: number;
  /** Other times than the usual ones. */
  webhook?: Omit<WebhookOptions, 'signal'>;
}

/**
 * Does the checks of the drift monitors as they fall due, says on the log and in the metrics what is over its threshold, and
 * calls webhooks, until the signal is aborted. Every running imagehub does this, whatever else its work is: they share the
 * checks. A webhook that hangs holds up no check, and neither anything else.
 */
export async function watchDrift(options: DriftWatchOptions): Promise<void> {
  const { signal, everyMs = LOOK_EVERY_MS } = options;
  const sending = new Set<Promise<void>>();
  const troubles = new Troubles(options.log);
  while (!signal.aborted) {
    try {
      await doChecks(options);
      await refreshGauges(options);
      for (const notice of await claimNotices(options.pool, DELIVERED_WITHIN_S)) {
        const sent = send(options, notice).finally(() => sending.delete(sent));
        sending.add(sent);
      }
      troubles.over(TROUBLE);
    } catch (error) {
      if (!signal.aborted) troubles.notice(TROUBLE, error);
    }
    await sleep(everyMs, undefined, { signal }).catch(() => undefined);
  }
  await Promise.all(sending);
}

async function doChecks(options: DriftWatchOptions): Promise<void> {
  const { signal } = options;
  while (!signal.aborted) {
    const check = await checkNextMonitor(options, signal);
    if (!check) return;
    tell(options, check);
  }
}

function tell({ log, metrics }: DriftWatchOptions, { monitor, report, raised, ended, problem }: Check): void {
  const { dataset } = monitor;
  const about = {
    dataset,
    monitor: monitor.monitor,
    ...(report && { window: report.window.since, until: report.window.until, images: report.window.images }),
  };
  for (const { measure } of raised) metrics.driftAlerts.inc({ dataset, measure });
  if (raised.length > 0) {
    log.warn(
      { ...about, comparedWith: report!.comparedWith, notes: report!.notes },
      crossingText(monitor, raised, []),
    );
  }
  if (ended.length > 0) log.info(about, crossingText(monitor, [], ended));
  if (problem !== null) {
    // The same again and again is no news.
    const level = problem === monitor.problem ? 'debug' : 'info';
    log[level](about, `drift is not judged: ${problem}`);
  } else log.debug(about, 'drift was checked');
}

/** In every process alike, whichever did the check: a scrape of any tells all. */
async function refreshGauges({ pool, metrics }: DriftWatchOptions): Promise<void> {
  const measures = await readNewestMeasures(pool);
  const monitors = await listMonitors(pool);
  metrics.drift.reset();
  metrics.driftAlert.reset();
  for (const { dataset, monitor, measure, value } of measures) {
    metrics.drift.set({ dataset, monitor, measure }, value);
  }
  for (const { dataset, monitor, thresholds, alerts } of monitors) {
    const open = new Set(alerts.map(({ measure }) => measure));
    for (const measure of Object.keys(thresholds)) {
      metrics.driftAlert.set({ dataset, monitor, measure }, open.has(measure) ? 1 : 0);
    }
  }
}

async function send(options: DriftWatchOptions, notice: Notice): Promise<void> {
  const { pool, log, metrics, signal, webhook } = options;
  const body = { notice: notice.notice, ...notice.payload };
  const { attempts, error } = await postWebhook(notice.webhook, body, { signal, ...webhook });
  const outcome = error === null ? 'delivered' : signal.aborted ? 'released' : 'failed';
  // The URL's path is often a secret.
  const about = { dataset: notice.dataset, monitor: notice.monitor, host: hostOf(notice.webhook), attempts };
  if (outcome === 'failed') {
    log.warn(about, `the drift webhook was not reached and is given up for this alert: ${error}`);
  }
  if (outcome !== 'released') metrics.driftWebhooks.inc({ dataset: notice.dataset, outcome });
  await settleNotice(pool, notice.notice, { outcome, attempts, error }).catch((cause: unknown) => {
    log.debug(
      { ...about, reason: errorText(cause) },
      'what became of a webhook was not recorded; it may be called again',
    );
  });
}

export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}
