import { type Command, InvalidArgumentError } from 'commander';
import Table from 'cli-table3';
import { DEFAULT_LIMITS, thresholds } from '../classifier/drift/measures.ts';
import { addMonitor } from '../classifier/drift/monitors.ts';
import { hostOf } from '../classifier/drift/watch.ts';
import { describeSelection } from '../sql/selection.ts';
import {
  deleteMonitor,
  listMonitors,
  type Moment,
  type Monitor,
  type MonitorReference,
  type MonitorState,
} from '../sql/drift-monitors.ts';
import { commandContext } from './command.ts';
import {
  addReferenceOptions,
  durationText,
  parseDuration,
  parseLimits,
  parseReference,
  type ReferenceOptions,
} from './drift-options.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { parseSample } from './selection.ts';

interface AddOptions extends ReferenceOptions {
  every: string;
  window?: string;
  max?: string;
  minImages: number;
  webhook?: string;
  json?: boolean;
}

const limitsText = (limits: Readonly<Record<string, number>>): string =>
  Object.entries(limits)
    .map(([name, limit]) => `${name}=${limit}`)
    .join(',');

/** Fewer images tell nothing that chance does not. */
const MIN_IMAGES = 100;

/** `drift watch add | list | remove`: what running hubs check again and again. */
export function addWatchCommands(drift: Command): void {
  const watch = drift
    .command('watch')
    .description('drift monitors: checked again and again by imagehub run, with alerts');
  const add = watch
    .command('add')
    .argument('<dataset>', 'the dataset’s name')
    .description('have the newest images compared with a reference every so often')
    .requiredOption('--every <length>', 'how often, e.g. 15m or 1h')
    .option('--window <length>', 'how far back each check looks (default: as long as --every)');
  addReferenceOptions(add, 'the moment at which the monitor is added')
    .option(
      '--max <limits>',
      `what is still fine: psi, js, ks or shift for everything, or single measures such as confidence_js (default: ${limitsText(DEFAULT_LIMITS)})`,
    )
    .option(
      '--min-images <n>',
      'a window or reference with fewer images raises and ends nothing',
      wholeNumber,
      MIN_IMAGES,
    )
    .option('--webhook <url>', 'called by POST, with a JSON document, when something is raised or ended')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      '\nA limit that is crossed, by more than chance, is raised once: a warning on the log, the metrics imagehub_drift_alert and' +
        '\nimagehub_drift_alerts_total, the webhook; and so is its end. Ages in the reference (30d) move along; times stay.',
    )
    .action(addWatch);
  watch
    .command('list')
    .argument('[dataset]', 'only those of this dataset')
    .description('the monitors, what is raised now, and why a check said nothing')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string | undefined, options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(options, (await listMonitors(hub.pool, dataset)).map(withoutSecret), listText);
    });
  watch
    .command('remove')
    .argument('<monitor>', 'its number', wholeNumber)
    .description('remove a monitor, with its reports and alerts')
    .option('--json', 'one JSON document on standard output')
    .action(async (monitor: number, options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(
        options,
        withoutSecret(await deleteMonitor(hub.pool, monitor)),
        () => `Removed drift monitor ${monitor}.`,
      );
    });
}

async function addWatch(dataset: string, options: AddOptions): Promise<void> {
  const every = parseDuration('--every', options.every);
  const monitor = {
    dataset,
    by: options.by,
    everySeconds: every,
    windowSeconds: options.window === undefined ? every : parseDuration('--window', options.window),
    reference: parseReference(options),
    sample: parseSample(options),
    thresholds: thresholds(options.max === undefined ? DEFAULT_LIMITS : parseLimits(options.max)),
    minImages: options.minImages,
    webhook: options.webhook ?? null,
  };
  await using hub = await openHub(commandContext());
  const added = await addMonitor(hub, monitor);
  report(options, withoutSecret(added), (each) =>
    [
      `Drift monitor ${each.monitor}: ${dataset}, every ${durationText(each.everySeconds)}, the last ${durationText(each.windowSeconds)} against ${referenceText(each.reference)}.`,
      'imagehub run checks it; imagehub drift watch list says how it stands.',
    ].join('\n'),
  );
}

/** The path of a webhook's URL is what lets anybody call it. */
const withoutSecret = <T extends Monitor>(monitor: T): T => ({
  ...monitor,
  webhook: monitor.webhook === null ? null : `${hostOf(monitor.webhook)}/…`,
});

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number from 1 on is wanted.');
}

function referenceText({ sample, ...reference }: MonitorReference): string {
  return [imagesText(reference), describeSelection({ sample })].filter(Boolean).join(', ');
}

function imagesText(reference: MonitorReference): string {
  if (reference.kind === 'training') return 'the live model’s training images';
  const moment = (time: Moment) => ('at' in time ? time.at : `${durationText(time.ago)} ago`);
  const { since, until } = reference;
  return [
    'images',
    ...(since ? [`since ${moment(since)}`] : []),
    ...(until ? [`until ${moment(until)}`] : []),
  ].join(' ');
}

function listText(monitors: MonitorState[]): string {
  if (monitors.length === 0) return 'There is no drift monitor. Add one: imagehub drift watch add --help';
  const lines = new Table({
    head: ['no', 'dataset', 'every', 'window', 'compared with', 'checked', 'state'],
    style: { head: [], border: [], compact: true },
  });
  for (const each of monitors) {
    lines.push([
      each.monitor,
      each.dataset,
      durationText(each.everySeconds),
      durationText(each.windowSeconds),
      referenceText(each.reference),
      each.checkedAt?.toISOString() ?? 'not yet',
      stateText(each),
    ]);
  }
  return lines.toString();
}

function stateText({ alerts, problem, checkedAt, pendingNotices, failedNotice }: MonitorState): string {
  const parts = alerts.map(
    ({ measure, raisedValue, threshold, raisedAt }) =>
      `${measure} ${raisedValue.toFixed(3)} > ${threshold} since ${raisedAt.toISOString()}`,
  );
  if (problem !== null) parts.push(problem);
  if (parts.length === 0) parts.push(checkedAt ? 'fine' : '');
  if (pendingNotices > 0) parts.push(`${pendingNotices} calls of the webhook to be made`);
  if (failedNotice) parts.push(`webhook failed at ${failedNotice.at.toISOString()}: ${failedNotice.error}`);
  return parts.join('\n');
}
