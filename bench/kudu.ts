import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import {
  type Client,
  type ColumnSpec,
  connect,
  type Row,
  type ScanOptions,
  type Table,
} from '../kudu/index.ts';
import { kuduBinaries } from '../stack/kudu.ts';
import { startStack } from '../stack/start.ts';
import { memoryOf } from './memory.ts';
import { amount, type BenchResult, compare, median, printResult } from './result.ts';

/** As many as the load generator's own tables have. */
const BUCKETS = 8;
/** Two of them make a row of an image as large as an MNIST one: base64 and PGM, 1.6 kB together. */
const TEXT_LENGTH = 800;

interface Shape {
  name: string;
  columns: ColumnSpec[];
  rows: number;
  /** Of texts, in the load generator's rows and in ours. */
  textLength: number;
  row(index: number): Row;
}

interface KuduOptions {
  runs: string;
  rows: string;
  images: string;
}

export const kuduCommand: RegisterCommand = (program) => {
  program
    .command('kudu')
    .description('our Kudu client: upserts and scans, beside Kudu’s own C++ client on the same server')
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option('--rows <n>', 'narrow rows of three columns', '1000000')
    .option('--images <n>', 'rows of about 1.6 kB', '100000')
    .option('--json', 'end with one line of JSON per comparison')
    .action(async (options: KuduOptions & { json?: boolean }) => {
      for (const result of await kuduBench(commandContext(), options)) printResult(result, options);
    });
};

/** What the load generator writes: numbers one after the other, and texts of a fixed length. */
const shapes = ({ rows, images }: KuduOptions): Shape[] => {
  const base64 = 'x'.repeat(TEXT_LENGTH);
  const pgm = new Uint8Array(TEXT_LENGTH).fill(0x78);
  return [
    {
      name: 'narrow',
      columns: [
        { name: 'key', type: 'INT64', key: true },
        { name: 'int_val', type: 'INT32' },
        { name: 'string_val', type: 'STRING' },
      ],
      rows: Number(rows),
      textLength: 16,
      row: (index) => ({ key: index, int_val: index, string_val: `${index}.`.padEnd(16, 'x') }),
    },
    {
      name: 'images',
      columns: [
        { name: 'key', type: 'INT64', key: true },
        { name: 'prediction', type: 'INT32' },
        { name: 'known_label', type: 'INT32' },
        { name: 'image_base64', type: 'STRING' },
        { name: 'image_pgm', type: 'BINARY' },
      ],
      rows: Number(images),
      textLength: TEXT_LENGTH,
      row: (index) => ({
        key: index,
        prediction: index % 10,
        known_label: index % 10,
        image_base64: base64,
        image_pgm: pgm,
      }),
    },
  ];
};

/** Kudu's program as a peer: its load generator and its scanner are its C++ client without anything else. */
type Tool = (...args: string[]) => Promise<string>;

/**
 * Upserts per second until all are answered, and rows per second until the last batch. The load generator has two threads
 * and so, as the server has its own, the two cores; its scanner reads cells row by row, with one thread and with two.
 */
async function kuduBench({ config }: CommandContext, options: KuduOptions): Promise<BenchResult[]> {
  const home = await mkdtemp(join(tmpdir(), 'imagehub-bench-'));
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => rm(home, { recursive: true, force: true }));
  const own = { ...config, home, postgresPort: 0, kuduPort: 0 };
  // A local stack is never without Postgres.
  const stack = await startStack(own, { only: ['postgres', 'kudu', 'kudu-tserver'], log: note });
  cleanUp.defer(() => stack.stop());
  const masters = stack.servers.kudu!;
  const { file, env } = await kuduBinaries({ config: own, log: note, signal: new AbortController().signal });
  const tool: Tool = async (...args) => {
    const whole = [...args.slice(0, 2), masters.join(','), ...args.slice(2)];
    const { stdout } = await promisify(execFile)(file, whole, { env: { ...process.env, ...env } });
    return stdout;
  };
  using client = await connect({ masters });
  const results: BenchResult[] = [];
  for (const shape of shapes(options)) {
    results.push(await writes(client, tool, shape, Number(options.runs)));
    results.push(await scans(client, tool, shape, Number(options.runs)));
  }
  note(`at most ${Math.round((await memoryOf(process.pid)).peakMib)} MiB of memory`);
  return results;
}

async function writes(client: Client, tool: Tool, shape: Shape, runs: number): Promise<BenchResult> {
  const rates = { ours: [] as number[], loadgen: [] as number[] };
  // Run 0 does not count: V8 compiles.
  for (let run = 0; run <= runs; run++) {
    const loadgen = await onNewTable(client, shape, (table) => generate(tool, shape, table));
    const ours = await onNewTable(client, shape, (table) => upsertAll(client, shape, table));
    note(
      `${shape.name}, run ${run}: ours ${amount(ours)}, loadgen ${amount(loadgen)} upserts/s${run ? '' : ' (practice)'}`,
    );
    if (run === 0) continue;
    rates.ours.push(ours);
    rates.loadgen.push(loadgen);
  }
  const peers = [{ name: 'kudu perf loadgen, 2 threads', value: median(rates.loadgen) }];
  return compare(`kudu upserts, ${shape.name}`, 'rows/s', 'more', median(rates.ours), peers, { runs: rates });
}

async function scans(client: Client, tool: Tool, shape: Shape, runs: number): Promise<BenchResult> {
  const rates: Record<'ours' | 'kept' | 'parallel' | 'rows' | 'one' | 'two', number[]> = {
    ours: [],
    kept: [],
    parallel: [],
    rows: [],
    one: [],
    two: [],
  };
  const kinds = Object.keys(rates) as (keyof typeof rates)[];
  await onNewTable(client, shape, async (table) => {
    await generate(tool, shape, table);
    for (let run = 0; run <= runs; run++) {
      const found: Record<keyof typeof rates, number> = {
        one: await scanByTool(tool, shape, table, 1),
        // As of the C++ client: a batch is valid until the next one is asked for.
        ours: await scanOurs(shape, table, { reuseMemory: true }),
        kept: await scanOurs(shape, table, {}),
        two: await scanByTool(tool, shape, table, 2),
        parallel: await scanOurs(shape, table, { parallel: 2, reuseMemory: true }),
        rows: await readRows(shape, table),
      };
      note(
        `${shape.name}, run ${run}: ${kinds.map((kind) => `${kind} ${amount(found[kind])}`).join(', ')} rows/s`,
      );
      if (run > 0) for (const kind of kinds) rates[kind].push(found[kind]);
    }
  });
  return compare(
    `kudu scan, ${shape.name}`,
    'rows/s',
    'more',
    median(rates.ours),
    [
      { name: 'kudu perf table_scan, 1 thread', value: median(rates.one) },
      { name: 'kudu perf table_scan, 2 threads', value: median(rates.two) },
    ],
    {
      batchesToKeep: median(rates.kept),
      parallel: median(rates.parallel),
      asRowObjects: median(rates.rows),
      runs: rates,
    },
  );
}

let tables = 0;

async function onNewTable<T>(client: Client, { name, columns }: Shape, work: (table: Table) => Promise<T>) {
  const table = await client.createTable({
    name: `bench_${name}_${++tables}`,
    columns,
    partitions: { hash: [{ columns: ['key'], buckets: BUCKETS }] },
  });
  try {
    return await work(table);
  } finally {
    await client.deleteTable(table.name);
  }
}

/** @returns rows per second, by the generator's own account */
async function generate(tool: Tool, { rows, textLength }: Shape, table: Table): Promise<number> {
  const output = await tool(
    'perf',
    'loadgen',
    `--table_name=${table.name}`,
    '--num_threads=2',
    `--num_rows_per_thread=${rows / 2}`,
    `--string_len=${textLength}`,
    '--use_upsert',
  );
  const milliseconds = Number(/time total: ([\d.]+) ms/.exec(output)?.[1]);
  if (!(milliseconds > 0)) throw new Error(`The load generator says: ${output}`);
  return (rows / milliseconds) * 1000;
}

async function upsertAll(client: Client, { rows, row }: Shape, table: Table): Promise<number> {
  const session = client.session();
  const started = performance.now();
  for (let index = 0; index < rows; index++) if (!session.upsert(table, row(index))) await session.drained();
  const { errors } = await session.flush();
  const rate = (rows / (performance.now() - started)) * 1000;
  if (errors[0]) throw new Error(`${errors.length} rows were not written: ${errors[0].message}`);
  return rate;
}

async function scanOurs({ rows }: Shape, table: Table, options: ScanOptions): Promise<number> {
  const started = performance.now();
  let count = 0;
  for await (const batch of table.scan(options)) count += batch.numRows;
  return rateOf(count, rows, started);
}

async function readRows({ rows }: Shape, table: Table): Promise<number> {
  const started = performance.now();
  let count = 0;
  for await (const row of table.scan().rows()) if (row.key !== null) count++;
  return rateOf(count, rows, started);
}

/** @returns rows per second, by the tool's own account, which leaves starting out */
async function scanByTool(tool: Tool, { rows }: Shape, table: Table, threads: number): Promise<number> {
  const output = await tool('perf', 'table_scan', table.name, `--num_threads=${threads}`);
  const [, count, seconds] = /Total count (\d+) cost ([\d.]+) seconds/.exec(output) ?? [];
  if (Number(count) !== rows) throw new Error(`kudu perf table_scan says: ${output}`);
  return rows / Number(seconds);
}

function rateOf(count: number, expected: number, started: number): number {
  const rate = (count / (performance.now() - started)) * 1000;
  if (count !== expected) throw new Error(`${count} rows were read, of ${expected}.`);
  return rate;
}
