import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError } from 'commander';
import { checkMissing, findMissing, type Missing, type Named } from '../console/missing.ts';
import { INDEX_CHECKS, reconcile, type Reconciliation } from '../console/reconcile.ts';
import { getDataset } from '../sql/datasets.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';

const LOOK_EVERY_MS = 500;
/** Names shown to a person; --json has them all. */
const NAMES_SHOWN = 20;

interface Options {
  deep?: boolean;
  json?: boolean;
  wait?: number;
}

/** `missing`: with --deep. */
type Result = Reconciliation & { missing?: Missing };

const seconds = (text: string): number => {
  const value = Number(text);
  if (!(value >= 0)) throw new InvalidArgumentError('Give a number of seconds.');
  return value;
};

export const reconcileCommand: RegisterCommand = (program) => {
  program
    .command('reconcile <dataset>')
    .description(
      'prove that nothing is lost or doubled: topic, table, dead letters and index against each other',
    )
    .option('--wait <seconds>', 'wait until nothing is under way, at most so long', seconds)
    .option('--deep', 'name what is missing: read the topic again, compare every row with its document')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      '\nExit status 1 when a check fails, or when --wait ran out. Everything may run meanwhile. With --deep, which takes' +
        `\ntime, the first ${NAMES_SHOWN} names of a kind are shown; --json has them all.`,
    )
    .action(async (name: string, options: Options) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, name);
      const until = Date.now() + (options.wait ?? 0) * 1000;
      let result: Result = await reconcile(hub, name);
      while (!settled(result) && Date.now() < until) {
        await sleep(LOOK_EVERY_MS);
        result = await reconcile(hub, name);
      }
      if (options.deep) result = await withMissing(hub, result);
      report(options, result, human);
      if (!result.consistent || (options.wait !== undefined && !settled(result))) process.exitCode = 1;
    });
};

const settled = (result: Reconciliation): boolean => result.consistent && result.complete;

async function withMissing(hub: Hub, result: Reconciliation): Promise<Result> {
  const reading = createProgress({ label: 'reading the topic again', estimated: true, unit: 'messages' });
  const comparing = () =>
    createProgress({
      label: 'comparing table and index',
      total: result.rows + (result.documents ?? 0),
      unit: 'rows and documents',
    });
  let bar = reading;
  try {
    const missing = await findMissing(hub, result.dataset, {
      signal: interruptSignal(),
      onTopic: (passed, total) => bar.update(passed, '', total),
      onIndex(looked) {
        if (bar === reading) {
          reading.stop();
          bar = comparing();
        }
        bar.update(looked);
      },
    });
    const checks = [...result.checks, ...checkMissing(missing)];
    return { ...result, checks, consistent: checks.every(({ ok }) => ok), missing };
  } finally {
    bar.stop();
  }
}

function human(result: Result): string {
  const { messages } = result;
  return [
    `${result.dataset}: ${messages.seen} messages → ${messages.inserted} new rows, ${messages.updated} updates, ${messages.superseded} superseded, ${messages.dead} dead letters, ${messages.tombstones} deletions`,
    `  rows ${result.rows}, not classified ${result.unclassified}, documents ${result.documents ?? '(no index)'}, waiting in the topic ${result.lag ?? '(no topic)'}`,
    ...result.halted.map((reason) => `  STOPPED ${reason}`),
    ...(result.pendingLabels > 0
      ? [
          `  labels still to be written to Kudu: ${result.pendingLabels} (imagehub run and the next relabelling do)`,
        ]
      : []),
    ...result.checks.map(
      ({ ok, name, left, right }) => `  ${ok ? 'ok  ' : 'WRONG'} ${name}: ${left}${ok ? '' : ` ≠ ${right}`}`,
    ),
    ...(result.missing ? namesOf(result.missing) : []),
    verdict(result),
  ].join('\n');
}

function namesOf({ messages, oldMessages, dropped, documents }: Missing): string[] {
  const message = ({ topic, partition, offset, id }: Missing['messages']['names'][0]) =>
    `${topic}/${partition} offset ${offset}, key ${id ?? '(no id)'}`;
  const given = dropped > 0 ? `, ${dropped} of which may be the dead letters that were given up` : '';
  return [
    ...list(`messages without row, dead letter or deletion${given}`, messages, message),
    ...list('old messages whose images may have been deleted long ago', oldMessages, message),
    ...(documents
      ? [
          ...list('rows without document', documents.missing, String),
          ...list('documents without row', documents.withoutRow, String),
          ...list('documents of another revision than their row', documents.otherRevision, String),
        ]
      : []),
  ];
}

function list<T>(title: string, { count, names }: Named<T>, text: (name: T) => string): string[] {
  if (count === 0) return [];
  const shown = names.slice(0, NAMES_SHOWN).map((name) => `    ${text(name)}`);
  const more = count > shown.length ? [`    … and ${count - shown.length} more (--json names them)`] : [];
  return [`  ${count} ${title}:`, ...shown, ...more];
}

function verdict({ dataset, consistent, complete, lag, checks, halted, missing }: Result): string {
  if (consistent && complete) return 'Nothing is lost and nothing is doubled.';
  if (consistent && halted.length === 0) {
    const waiting = (lag ?? 0) > 0 ? 'messages wait in the topic (imagehub run takes them)' : 'labels wait';
    return `Nothing is lost and nothing is doubled so far; ${waiting}.`;
  }
  if (consistent)
    return 'Nothing is lost and nothing is doubled so far; what is stopped goes on with imagehub resume.';
  const ofIndex: string[] = Object.values(INDEX_CHECKS);
  const naming = missing ? '' : ` imagehub reconcile ${dataset} --deep names what is missing.`;
  if (checks.every(({ ok, name }) => ok || ofIndex.includes(name))) {
    return `The table is right; the index is not in step with it. While imagehub run catches up that is normal: --wait 60 gives it time.${naming}`;
  }
  return `The books do not agree.${naming}`;
}
