import Table from 'cli-table3';
import { type Command, InvalidArgumentError } from 'commander';
import { HubError } from '../errors.ts';
import { openIngest } from '../ingest/open-ingest.ts';
import { retryDeadLetters } from '../ingest/retry-dead-letters.ts';
import { createMetrics } from '../metrics.ts';
import { getDataset } from '../sql/datasets.ts';
import {
  countDeadLetters,
  type DeadLetterFilter,
  dropDeadLetters,
  listDeadLetters,
  readDeadLetterMessage,
  type StoredDeadLetter,
} from '../sql/dead-letters.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { type Hub, openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';

interface FilterOptions {
  reason?: string;
  json?: boolean;
}

const number = (text: string, before: number[] = []): number[] => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A dead letter is named by its number.');
  return [...before, value];
};

export const deadLettersCommand: RegisterCommand = (program) => {
  const command = program
    .command('dead-letters')
    .description('messages that could not be processed: see why, try again, or give up');

  filtered(command.command('list'), 'list them, oldest first')
    .option('--limit <n>', 'most to list', '50')
    .action(async (dataset: string, numbers: number[], options: FilterOptions & { limit: string }) => {
      await using hub = await openHub(commandContext());
      const filter = await filterOf(hub, dataset, numbers, options);
      const letters = await listDeadLetters(hub.pool, filter, { limit: Number(options.limit) });
      report(
        options,
        { total: await countDeadLetters(hub.pool, filter), deadLetters: letters },
        lettersTable,
      );
    });

  command
    .command('show <dataset> <number>')
    .description('one of them whole; --bytes writes the message’s value to standard output')
    .option('--json', 'one JSON document on standard output')
    .option('--bytes', 'the value as it came, nothing else (redirect it to a file)')
    .action(async (dataset: string, text: string, options: { json?: boolean; bytes?: boolean }) => {
      await using hub = await openHub(commandContext());
      const filter = await filterOf(hub, dataset, number(text), {});
      const letter = (await listDeadLetters(hub.pool, filter))[0];
      const message = letter && (await readDeadLetterMessage(hub.pool, letter.deadLetterNo));
      if (!letter || !message) throw noLetter(dataset, text);
      if (options.bytes) {
        process.stdout.write(message.value ?? Buffer.alloc(0));
        return;
      }
      const headers = message.headers.map(([name, value]) => ({ name, value: value.toString('utf8') }));
      report(options, { ...letter, headers, base64: message.value?.toString('base64') ?? null }, letterText);
    });

  filtered(command.command('retry'), 'process them again, e.g. after raising a limit').action(
    async (dataset: string, numbers: number[], options: FilterOptions) => {
      await using hub = await openHub(commandContext());
      const filter = await filterOf(hub, dataset, numbers, options);
      const { config, log } = hub;
      const metrics = createMetrics({ processMetrics: false });
      await using context = await openIngest({
        config,
        ...hub.servers,
        log,
        metrics,
        signal: interruptSignal(),
      });
      const outcomes: Record<string, number> = {};
      const progress = createProgress({
        label: 'retrying',
        total: await countDeadLetters(hub.pool, filter),
        unit: 'dead letters',
      });
      let done = 0;
      await retryDeadLetters(context, filter, (_, outcome) => {
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
        progress.update(++done);
      }).finally(() => progress.stop());
      report(options, { retried: done, outcomes }, ({ retried }) =>
        [
          `${retried} tried again.`,
          ...Object.entries(outcomes).map(([outcome, count]) => `  ${outcome}: ${count}`),
        ].join('\n'),
      );
      if (outcomes.dead) process.exitCode = 1;
    },
  );

  filtered(command.command('drop'), 'forget them for good, bytes and all (asks first)')
    .option('--yes', 'do not ask')
    .action(async (dataset: string, numbers: number[], options: FilterOptions & { yes?: boolean }) => {
      await using hub = await openHub(commandContext());
      const filter = await filterOf(hub, dataset, numbers, options);
      const count = await countDeadLetters(hub.pool, filter);
      if (count > 0) await confirm(`Forget ${count} dead letters of ${dataset} for good?`, options);
      report(
        options,
        { dropped: await dropDeadLetters(hub.pool, filter) },
        ({ dropped }) => `${dropped} dropped.`,
      );
    });
};

function filtered(command: Command, description: string): Command {
  return command
    .description(description)
    .argument('<dataset>')
    .argument('[numbers...]', 'only these', number)
    .option('--reason <reason>', 'only those with this reason, e.g. truncated')
    .option('--json', 'one JSON document on standard output');
}

async function filterOf(
  hub: Hub,
  dataset: string,
  numbers: number[] | undefined,
  { reason }: FilterOptions,
): Promise<DeadLetterFilter> {
  await getDataset(hub.pool, dataset);
  return { dataset, numbers: numbers && numbers.length > 0 ? numbers : undefined, reason };
}

const noLetter = (dataset: string, text: string) =>
  new HubError('NOT_FOUND', `${dataset} has no dead letter ${text}.`, {
    hint: `imagehub dead-letters list ${dataset}`,
  });

function lettersTable({ total, deadLetters }: { total: number; deadLetters: StoredDeadLetter[] }): string {
  if (total === 0) return 'No dead letters.';
  const table = new Table({
    head: ['no', 'key', 'stage', 'reason', 'detail', 'attempts', 'last failed'],
    colWidths: [8, 28, 9, 20, 50, 10, 22],
    wordWrap: true,
    style: { head: [], border: [] },
  });
  for (const letter of deadLetters) {
    const { deadLetterNo, key, stage, reason, detail, attempts, lastFailedAt } = letter;
    table.push([
      deadLetterNo,
      key ?? '(none)',
      stage,
      reason,
      detail,
      attempts,
      lastFailedAt.toISOString().slice(0, 19),
    ]);
  }
  const more = total > deadLetters.length ? `\n${total - deadLetters.length} more (--limit).` : '';
  return `${table.toString()}${more}`;
}

function letterText(letter: StoredDeadLetter & { headers: { name: string; value: string }[] }): string {
  return [
    `dead letter ${letter.deadLetterNo} of ${letter.dataset}`,
    `  message    ${letter.topic}, partition ${letter.partition}, offset ${letter.offset}, ${letter.timestamp.toISOString()}`,
    `  key        ${letter.key ?? '(none)'}`,
    ...letter.headers.map(({ name, value }) => `  header     ${name}: ${value}`),
    `  bytes      ${letter.bytes ?? 0}`,
    `  failed at  ${letter.stage}: ${letter.reason}`,
    `  because    ${letter.detail}`,
    `  attempts   ${letter.attempts}, first ${letter.firstFailedAt.toISOString()}, last ${letter.lastFailedAt.toISOString()}`,
  ].join('\n');
}
