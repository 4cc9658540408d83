import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { Option } from 'commander';
import { errorText, HubError } from '../errors.ts';
import { connect } from '../kudu/index.ts';
import { explainKudu } from '../query/kudu-error.ts';
import { queryPostgres } from '../query/postgres.ts';
import type { TableScan } from '../query/load.ts';
import type { QueryOptions } from '../query/result.ts';
import { kuduDatasets, leftOutNote, wordsIn } from '../query/which-store.ts';
import { checkConnection, type HubPool, openPool } from '../sql/database.ts';
import { checkKudu } from '../stack/check.ts';
import { hostList, locateKudu, locateServers } from '../stack/servers.ts';
import { type CommandContext, commandContext, type RegisterCommand } from './command.ts';
import { wholeNumber } from './numbers.ts';
import { note } from './output.ts';
import { createProgress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';
import { printRows, SQL_FORMATS, type SqlFormat, TABLE_ROWS } from './sql-output.ts';

interface SqlOptions {
  file?: string;
  format?: SqlFormat;
  json?: boolean;
  limit?: string;
  timeout?: string;
  kudu?: boolean;
  postgres?: boolean;
  masters?: string;
  maxMib?: string;
}

const MIB = 1024 * 1024;

const HELP = `
Every dataset is a table of its own name. How many images the live model puts in each class, and how many of them rightly:
  imagehub sql "select count(prediction), prediction as all_prediction from mnist group by prediction order by prediction"
  imagehub sql "select count(prediction), prediction as correct_prediction from mnist where prediction = known_label
                group by prediction order by prediction"

It only reads: one select, in a transaction that cannot write. Views, and what else there is to ask: docs/sql.md.

Datasets in Kudu are found by themselves: a query that names one is answered by DuckDB from Kudu's tables; one that names
others too, in Postgres, is refused. Of each table in Kudu only the columns that the query needs are read, and of its rows
those that conditions which Kudu knows (=, <, >, in, is null, on a column of its own) leave over.
--kudu: all names are Kudu tables, copies and others too, in double quotes where they hold dots or colons. Needs no database.

Formats: table for people, with long values shortened; csv with the names first, json one array, ndjson an object per line,
these with all values in full. Times are in UTC.`;

export const sqlCommand: RegisterCommand = (program) => {
  program
    .command('sql')
    .argument('[query]', 'a select; - reads it from standard input')
    .description('answer a query on datasets, wherever their images are')
    .option('--file <path>', 'read the query from a file (-: standard input)')
    .addOption(
      new Option(
        '--format <format>',
        'how rows are printed (default: table on a terminal, else csv)',
      ).choices(SQL_FORMATS),
    )
    .option('--json', 'the same as --format json')
    .option('--limit <n>', `print at most so many rows, or all (default: ${TABLE_ROWS} in a table, else all)`)
    .option('--timeout <seconds>', 'give up after so long')
    .option('--kudu', 'the tables are Kudu’s (default: as the datasets’ are)')
    .addOption(new Option('--postgres', 'the tables are Postgres’s').conflicts('kudu'))
    .option('--masters <hosts>', 'of Kudu: host:port, comma-separated (default: IMAGEHUB_KUDU_MASTERS)')
    .option('--max-mib <n>', 'most MiB to read from Kudu (default: IMAGEHUB_SQL_BYTES)')
    .addHelpText('after', HELP)
    .action(async (query: string | undefined, options: SqlOptions) => {
      const print = printOptions(options);
      const statement = await readStatement(query, options);
      const context = commandContext();
      const limits = {
        timeoutMs:
          options.timeout === undefined ? undefined : wholeNumber('--timeout', options.timeout, 1) * 1000,
        signal: interruptSignal(),
      };
      const began = performance.now();
      const question = { context, statement, options, limits, print };
      const shown = options.kudu ? await onKudu(question) : await onEither(question);
      const rows = `${shown.rows.toLocaleString('en')} ${shown.rows === 1 ? 'row' : 'rows'}`;
      const more = shown.more ? ' (there are more: --limit all)' : '';
      note(`${rows} in ${((performance.now() - began) / 1000).toFixed(2)} s${more}`);
    });
};

type Print = Parameters<typeof printRows>[1];

function printOptions({ format, json, limit }: SqlOptions): Print {
  if (json && format !== undefined && format !== 'json')
    throw new HubError('USAGE', `--json and --format ${format} contradict each other.`);
  const chosen = json ? 'json' : (format ?? (process.stdout.isTTY ? 'table' : 'csv'));
  const usual = chosen === 'table' ? TABLE_ROWS : Infinity;
  return {
    format: chosen,
    limit: limit === undefined ? usual : limit === 'all' ? Infinity : wholeNumber('--limit', limit, 1),
  };
}

async function readStatement(query: string | undefined, { file }: SqlOptions): Promise<string> {
  if ((query === undefined) === (file === undefined)) {
    throw new HubError('USAGE', 'Say one query: as an argument, or with --file.', {
      hint: 'E.g. imagehub sql "select count(*) from mnist"; --file - reads standard input.',
    });
  }
  if (query === '-' || file === '-') return text(process.stdin);
  if (file === undefined) return query!;
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw new HubError('BAD_FILE', `${file} cannot be read: ${errorText(error)}`);
  });
}

interface Question {
  context: CommandContext;
  statement: string;
  options: SqlOptions;
  limits: QueryOptions;
  print: Print;
}

/** Postgres answers, unless the statement names datasets in Kudu. */
async function onEither(question: Question) {
  const { context, statement, options } = question;
  const { postgres } = await locateServers(context.config);
  await using pool = openPool(postgres, { max: 2 });
  await checkConnection(pool, postgres);
  const inKudu = options.postgres ? [] : await kuduDatasets(pool);
  if (inKudu.length === 0) refuseKuduOptions(options);
  try {
    return await onPostgres(pool, question, inKudu);
  } catch (refusal) {
    const words = wordsIn(statement, inKudu);
    if (words.length === 0) throw refusal;
    // DuckDB's library takes a while to load, which other queries need not wait for.
    const { explainMixed, kuduTablesIn } = await import('../query/kudu-names.ts');
    const named = await kuduTablesIn(statement, refusal, words);
    if (named.length === 0) throw refusal;
    try {
      return await onKudu(question);
    } catch (error) {
      throw await explainMixed(pool, error, named);
    }
  }
}

function refuseKuduOptions(options: SqlOptions): void {
  for (const name of ['masters', 'maxMib'] as const) {
    if (options[name] === undefined) continue;
    const flag = name === 'masters' ? '--masters' : '--max-mib';
    throw new HubError('USAGE', `${flag} is for --kudu, and for datasets in Kudu.`);
  }
}

async function onPostgres(pool: HubPool, { statement, limits, print }: Question, inKudu: string[]) {
  return await queryPostgres(pool, statement, limits, async (result) => {
    const leftOut = await leftOutNote(pool, statement, inKudu);
    if (leftOut !== null) note(leftOut);
    return await printRows(result, print);
  });
}

async function onKudu({ context: { config }, statement, options, limits, print }: Question) {
  const masters = hostList(options.masters) ?? (await locateKudu(config));
  if (masters === null) {
    throw new HubError('NO_SERVER', `No Kudu: none runs in ${config.home}, and no masters are named.`, {
      hint: 'Start one with: imagehub up --kudu --detach; or name masters: --masters HOST:PORT, IMAGEHUB_KUDU_MASTERS.',
    });
  }
  const maxBytes =
    options.maxMib === undefined ? config.sqlBytes : wholeNumber('--max-mib', options.maxMib, 1) * MIB;
  const { queryKudu } = await import('../query/kudu.ts');
  const progress = createProgress({ label: 'reading from Kudu', unit: 'rows' });
  try {
    await checkKudu(masters);
    using client = await connect({ masters });
    const all = { ...limits, maxBytes, onProgress: (rows: number) => progress.update(rows) };
    return await queryKudu(client, statement, all, (result) => {
      progress.stop();
      for (const scan of result.scans) note(scanText(scan));
      return printRows(result, print);
    });
  } catch (error) {
    throw explainKudu(error, masters);
  } finally {
    progress.stop();
  }
}

const SIGNS = { eq: '=', gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

/** What was read of a table: `mnist: 1,000 rows of prediction, known_label where prediction = 3 (8 kB)`. */
function scanText({ table, columns, where, limit, rows, bytes }: TableScan): string {
  const conditions = Object.entries(where).flatMap(([column, condition]) =>
    Object.entries(condition).map(([kind, value]) =>
      kind === 'isNull'
        ? `${column} is ${value === true ? '' : 'not '}null`
        : kind === 'in'
          ? `${column} in (${(value as unknown[]).join(', ')})`
          : `${column} ${SIGNS[kind as keyof typeof SIGNS]} ${String(value)}`,
    ),
  );
  const what = columns.length > 0 ? ` of ${columns.join(', ')}` : ', no column,';
  const which = conditions.length > 0 ? ` where ${conditions.join(' and ')}` : '';
  const most = limit === undefined ? '' : ` limit ${limit}`;
  return `Read from Kudu’s ${table}: ${rows.toLocaleString('en')} rows${what}${which}${most} (${Math.ceil(bytes / 1000).toLocaleString('en')} kB)`;
}
