import { cutWindows, type Reference, reportDrift } from '../classifier/drift/drift.ts';
import type { MonitorReference } from '../sql/drift-monitors.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import {
  addReferenceOptions,
  parseDuration,
  parseReference,
  type ReferenceOptions,
  timeOf,
} from './drift-options.ts';
import { driftText } from './drift-text.ts';
import { addWatchCommands } from './drift-watch.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { parseSample, parseTime } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface Options extends ReferenceOptions {
  window?: string;
  since?: string;
  until?: string;
  json?: boolean;
}

export const driftCommand: RegisterCommand = (program) => {
  // drift watch has options of the same names: each command takes those that stand after its own name.
  program.enablePositionalOptions();
  const command = program
    .command('drift')
    .enablePositionalOptions()
    .argument('<dataset>', 'the dataset’s name')
    .description(
      'how far newer images and predictions are from a reference, and the accuracy to expect without labels',
    )
    .option(
      '--window <length>',
      'how long a window is, e.g. 1h or 1d (default: 1d, or all between --since and --until)',
    )
    .option('--since <time>', 'with --window: one window after the other from then on; else one from then')
    .option('--until <time>', 'where the last window ends: ISO 8601, or an age such as 12h (default: now)');
  addReferenceOptions(command, 'all images before the first window')
    .option('--json', 'one JSON document on standard output: a list with one report per window')
    .addHelpText(
      'after',
      '\nimagehub drift mnist --window 1d --since 30d --reference training' +
        '\nReports are stored: the view drift_over_time has them for SQL, Grafana shows them.' +
        '\nTo have it checked again and again, with alerts: imagehub drift watch --help',
    )
    .action(drift);
  addWatchCommands(command);
};

async function drift(dataset: string, options: Options): Promise<void> {
  const windows = cutWindows({
    seconds: options.window === undefined ? null : parseDuration('--window', options.window),
    since: options.since === undefined ? null : parseTime(options.since),
    until: options.until === undefined ? null : parseTime(options.until),
  });
  const reference = referenceOf(parseReference(options));
  const sample = parseSample(options);
  await using hub = await openHub(commandContext());
  const progress = createProgress({ label: 'comparing', total: windows.length, unit: 'windows' });
  try {
    const reports = await reportDrift(hub, {
      dataset,
      by: options.by,
      windows,
      reference,
      sample,
      signal: interruptSignal(),
      onWindow: (done) => progress.update(done),
    });
    progress.stop();
    report(options, reports, driftText);
  } finally {
    progress.stop();
  }
}

function referenceOf(reference: MonitorReference | null): Reference {
  if (!reference) return { kind: 'before' };
  if (reference.kind === 'training') return reference;
  const { since, until } = reference;
  return { kind: 'span', since: since && timeOf(since), until: until && timeOf(until) };
}
