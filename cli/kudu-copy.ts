import Table from 'cli-table3';
import { HubError } from '../errors.ts';
import { checkCopy, type CopyCheck, getCopy } from '../kudu-copy/check.ts';
import { createCopy, dropCopy } from '../kudu-copy/create-and-drop.ts';
import { noKudu } from '../kudu-copy/run-copies.ts';
import { readCopies } from '../kudu-copy/state.ts';
import { type CopyStatus, copyStatus } from '../kudu-copy/status.ts';
import { type Client, connect, KuduError } from '../kudu/index.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { type Hub, openHub } from './hub.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';
import { interruptSignal } from './shutdown.ts';

const JSON_OPTION = ['--json', 'one JSON document on standard output'] as const;
/** A tablet for each of a few servers’ cores; they cannot be changed afterwards. */
const PARTITIONS = '4';
const WAIT_SECONDS = '30';
const MOST_PARTITIONS = 1000;

interface Options {
  json?: boolean;
}

export const kuduCopyCommand: RegisterCommand = (program) => {
  const command = program
    .command('kudu-copy')
    .description('copies of datasets as tables in Apache Kudu, for Impala and Spark, kept in step');

  command
    .command('create <dataset>')
    .description('make a copy of a dataset; imagehub run (role copy) fills it and keeps it in step')
    .option('--table <name>', 'the table’s name in Kudu (default: the dataset’s)')
    .option('--partitions <n>', 'hash partitions by id; fixed once the table is made', PARTITIONS)
    .option('--replicas <n>', 'servers that have each tablet: 1, 3, 5 …', '1')
    .option(...JSON_OPTION)
    .action(create);

  command
    .command('list')
    .description('which datasets are copied, and how far')
    .option(...JSON_OPTION)
    .action((options: Options) => list(undefined, options));

  command
    .command('show <dataset>')
    .description('how a copy stands: rows on both sides, what is missing in cells, how far it is behind')
    .option(...JSON_OPTION)
    .action((dataset: string, options: Options) => list(dataset, options));

  command
    .command('check <dataset>')
    .description('compare a copy with its dataset, row by row, by revision')
    .option('--wait <seconds>', 'how long the copy may take to come up first', WAIT_SECONDS)
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      '\nExit status 1 when they differ, or when the copy does not come up. Changes may go on meanwhile.',
    )
    .action(check);

  command
    .command('drop <dataset>')
    .description('end a copy and drop its table in Kudu; the dataset stays as it is')
    .option('--keep-table', 'leave the table in Kudu as it is now')
    .option('--yes', 'do not ask')
    .option(...JSON_OPTION)
    .action(drop);
};

interface CreateOptions extends Options {
  table?: string;
  partitions: string;
  replicas: string;
}

async function create(dataset: string, options: CreateOptions): Promise<void> {
  const partitions = wholeNumber('--partitions', options.partitions, 1);
  if (partitions > MOST_PARTITIONS)
    throw new HubError('USAGE', `--partitions ${partitions} is more than ${MOST_PARTITIONS}.`);
  const replicas = wholeNumber('--replicas', options.replicas, 1);
  if (replicas % 2 === 0)
    throw new HubError('USAGE', `--replicas ${replicas} is even: a majority needs 1, 3, 5 ….`);
  await using hub = await openHub(commandContext());
  const { table } = options;
  const copy = await withKudu(hub, (kudu) =>
    createCopy(hub.pool, kudu, { dataset, table, partitions, replicas }, interruptSignal()),
  );
  const { tableName } = copy;
  report(options, { dataset, table: tableName, partitions, replicas }, () =>
    [
      `Made table ${tableName} in Kudu: ${partitions} partition${partitions === 1 ? '' : 's'} by id.`,
      `imagehub run fills it and keeps it in step (role copy); imagehub kudu-copy show ${dataset} says how far it is.`,
    ].join('\n'),
  );
}

async function list(dataset: string | undefined, options: Options): Promise<void> {
  await using hub = await openHub(commandContext());
  if (dataset !== undefined) await getCopy(hub.pool, dataset);
  else if ((await readCopies(hub.pool)).length === 0) {
    report(options, [], () => 'No dataset is copied to Kudu: imagehub kudu-copy create DATASET');
    return;
  }
  const found = await withKudu(hub, (kudu) => copyStatus(hub.pool, kudu, dataset));
  if (dataset === undefined) report(options, found, listText);
  else report(options, found[0], (one) => showText(one!, hub.config.kuduMaxCellBytes));
}

const lagText = ({ lagSeconds }: CopyStatus) => (lagSeconds === null ? '–' : `${lagSeconds.toFixed(1)} s`);

function stateText({ state, reason, rowsCopied, rows, keeper }: CopyStatus): string {
  if (state === 'stopped') return `stopped: ${reason}`;
  const waiting = keeper === 'waiting' ? ', nobody keeps it: imagehub run copy' : '';
  if (state === 'following') return `following${waiting}`;
  return `copying: ${rowsCopied} of ${rows} rows${reason ? ` (${reason})` : ''}${waiting}`;
}

function listText(copies: CopyStatus[]): string {
  const table = new Table({
    head: ['dataset', 'table', 'rows', 'in Kudu', 'behind', 'state'],
    style: { head: [], border: [] },
  });
  for (const copy of copies) {
    table.push([copy.dataset, copy.table, copy.rows, copy.copiedRows ?? '–', lagText(copy), stateText(copy)]);
  }
  return table.toString();
}

function showText(copy: CopyStatus, cellBytes: number): string {
  const { dataset, table, rows, copiedRows, incompleteRows, partitions, replicas } = copy;
  const lines = [
    `${dataset} → Kudu table ${table} (${partitions} partitions by id, ${replicas} replica${replicas === 1 ? '' : 's'})`,
    `  ${stateText(copy)}`,
    `  ${rows} rows, ${copiedRows ?? 'none'} in Kudu; behind by ${lagText(copy)}, ${copy.lagBytes ?? '–'} bytes of log`,
  ];
  if (incompleteRows)
    lines.push(
      `  ${incompleteRows} of them lack cells over ${cellBytes} bytes (column omitted says which). To have them: start Kudu’s tablet`,
      `  servers with --max_cell_size_bytes (and --unlock_unsafe_flags), set IMAGEHUB_KUDU_MAX_CELL_BYTES to the same, and make the copy anew.`,
    );
  if (copy.lastError) lines.push(`  last error, ${copy.lastErrorAt?.toISOString()}: ${copy.lastError}`);
  return lines.join('\n');
}

async function check(dataset: string, options: Options & { wait: string }): Promise<void> {
  const waitMs = wholeNumber('--wait', options.wait, 0) * 1000;
  await using hub = await openHub(commandContext());
  const signal = interruptSignal();
  const result = await withKudu(hub, (kudu) => checkCopy(dataset, { pool: hub.pool, kudu, waitMs, signal }));
  report(options, result, checkText);
  if (!result.equal) process.exitCode = 1;
}

/** Ids shown to a person; --json has more. */
const IDS_SHOWN = 20;

function checkText({ dataset, table, rows, copiedRows, different, differences, equal }: CopyCheck): string {
  if (equal) return `Table ${table} equals dataset ${dataset}: ${rows} rows of the same revisions.`;
  const revision = (value: number | null) => value ?? 'none';
  return [
    `Table ${table} has ${copiedRows} rows where dataset ${dataset} has ${rows}; ${different} differ:`,
    ...differences
      .slice(0, IDS_SHOWN)
      .map(
        ({ id, kind, row, copy }) => `  ${kind}: ${id} (revision ${revision(row)}, copy ${revision(copy)})`,
      ),
    ...(different > IDS_SHOWN ? [`  … and ${different - IDS_SHOWN} more`] : []),
  ].join('\n');
}

async function drop(
  dataset: string,
  options: Options & { keepTable?: boolean; yes?: boolean },
): Promise<void> {
  await using hub = await openHub(commandContext());
  const { tableName } = await getCopy(hub.pool, dataset);
  if (!options.keepTable) await confirm(`Drop Kudu’s table ${tableName}?`, options);
  const signal = interruptSignal();
  const { tableDropped } = options.keepTable
    ? await dropCopy(hub.pool, null, dataset, signal)
    : await withKudu(hub, (kudu) => dropCopy(hub.pool, kudu, dataset, signal));
  report(options, { dataset, table: tableName, tableDropped }, () =>
    tableDropped
      ? `Dropped the copy of ${dataset} and table ${tableName}.`
      : `Ended the copy of ${dataset}; ${options.keepTable ? `table ${tableName} stays as it is` : `there was no table ${tableName} of ours`}.`,
  );
}

async function withKudu<T>({ servers }: Hub, work: (kudu: Client) => Promise<T>): Promise<T> {
  if (servers.kudu === null) throw noKudu();
  try {
    using kudu = await connect({ masters: servers.kudu });
    return await work(kudu);
  } catch (error) {
    throw error instanceof KuduError ? explained(error, servers.kudu) : error;
  }
}

function explained(cause: KuduError, masters: string[]): HubError {
  const { code, message, retryable } = cause;
  const hint =
    code === 'UNREACHABLE' || code === 'TIMEOUT'
      ? `Does Kudu run at ${masters.join(', ')}? imagehub up --kudu starts a local one.`
      : undefined;
  const known = {
    NOT_FOUND: 'NOT_FOUND',
    ALREADY_PRESENT: 'ALREADY_EXISTS',
    NOT_AUTHORIZED: 'ACCESS_DENIED',
  } as const;
  const ours = known[code as keyof typeof known] ?? (retryable ? 'SERVER_UNREACHABLE' : 'USAGE');
  return new HubError(ours, `Kudu: ${message}`, { cause, ...(hint && { hint }) });
}
