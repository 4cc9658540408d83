import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { images } from '../api.ts';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import { exportColumns } from '../export/columns.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import { type Pool, transaction } from '../sql/database.ts';
import { createDataset } from '../sql/datasets.ts';
import { selectionSql } from '../sql/selection.ts';
import { columnsSql } from '../sql/stored-images.ts';
import { memoryOf } from './memory.ts';
import { DIGIT_CLASSES } from './model.ts';
import { amount, type BenchResult, compare, median, printResult } from './result.ts';
import { openScene, readMnist } from './scene.ts';

const DATASET = 'digits';
const ROWS_AT_ONCE = 5000;
/** Of a batch, ours and the peers'. */
const BATCH_ROWS = 8192;
/** Of a PGM of 28 × 28 pixels. */
const PGM_BYTES = 13 + 28 * 28;

const QUERIES: Readonly<Record<string, string[]>> = {
  narrow: ['id', 'known_label', 'prediction', 'confidence', 'ingested_at'],
  scores: ['id', 'known_label', 'scores'],
  images: ['id', 'image', 'known_label'],
};

interface ExportOptions {
  data: string;
  python: string;
  runs: string;
  times: string;
}

export const exportBenchCommand: RegisterCommand = (program) => {
  program
    .command('export')
    .description('stored MNIST rows as Arrow record batches, beside psycopg and pyarrow on the same query')
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--python <program>', 'a Python with psycopg and pyarrow', 'python3')
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option('--times <n>', 'how often the 60,000 images are in the table', '5')
    .option('--json', 'end with one line of JSON')
    .action(async (options: ExportOptions & { json?: boolean }) => {
      for (const result of await exportBench(commandContext(), options)) printResult(result, options);
    });
};

interface Read {
  rate: number;
  rows: number;
  labels: number;
  imageBytes: number;
}

/**
 * Rows per second from opening the connection to the last batch: `images()` in the order of ids, as it does by default,
 * and without one; psycopg by a server-side binary cursor and by binary COPY into pyarrow, without one.
 */
async function exportBench(context: CommandContext, options: ExportOptions): Promise<BenchResult[]> {
  await using scene = await openScene(context, ['postgres']);
  const { pool, servers } = scene.hub;
  await fill(pool, await readMnist(options.data), Number(options.times));
  const results: BenchResult[] = [];
  for (const [query, columns] of Object.entries(QUERIES)) {
    const rates = {
      ordered: [] as number[],
      any: [] as number[],
      cursor: [] as number[],
      copy: [] as number[],
    };
    // Run 0 does not count: V8 compiles, Postgres fills its cache.
    for (let run = 0; run <= Number(options.runs); run++) {
      const reads: Record<keyof typeof rates, Read> = {
        cursor: await readByPython(servers.postgres, 'cursor', columns, options.python),
        copy: await readByPython(servers.postgres, 'copy', columns, options.python),
        any: await readOurs(servers.postgres, columns, 'any'),
        ordered: await readOurs(servers.postgres, columns, 'id'),
      };
      checkSame(Object.values(reads));
      if (run === 0) continue;
      const kinds = Object.keys(rates) as (keyof typeof rates)[];
      for (const kind of kinds) rates[kind].push(Math.round(reads[kind].rate));
      note(
        `${query}, run ${run}: ${kinds.map((kind) => `${kind} ${amount(reads[kind].rate)}`).join(', ')} rows/s`,
      );
    }
    results.push(
      compare(
        `export ${query}`,
        'rows/s',
        'more',
        median(rates.any),
        [
          { name: 'psycopg, binary cursor', value: median(rates.cursor) },
          { name: 'psycopg, binary COPY', value: median(rates.copy) },
        ],
        { inOrderOfIds: median(rates.ordered), columns },
      ),
    );
  }
  note(`at most ${Math.round((await memoryOf(process.pid)).peakMib)} MiB of memory`);
  return results;
}

async function readOurs(url: string, columns: string[], order: 'id' | 'any'): Promise<Read> {
  let rows = 0;
  let labels = 0;
  let imageBytes = 0;
  const started = performance.now();
  for await (const batch of images(DATASET, { url, columns, order, batchRows: BATCH_ROWS })) {
    rows += batch.numRows;
    for (const label of batch.getChild('known_label')!.toArray() as Int32Array) labels += label;
    const image = batch.getChild('image')?.data[0];
    if (image) imageBytes += image.valueOffsets[batch.numRows]!;
  }
  return { rate: (rows / (performance.now() - started)) * 1000, rows, labels, imageBytes };
}

async function readByPython(url: string, method: string, columns: string[], python: string): Promise<Read> {
  const script = fileURLToPath(new URL('./peers/python_export.py', import.meta.url));
  const list = columnsSql(exportColumns(columns).map(({ source }) => source));
  const query = `select ${list} from ${selectionSql(DATASET)}`;
  const { stdout } = await promisify(execFile)(
    python,
    [script, method, columns.join(','), String(BATCH_ROWS), query],
    { env: { ...process.env, PGURL: url } },
  );
  return JSON.parse(stdout) as Read;
}

function checkSame(reads: Read[]): void {
  const what = reads.map(({ rows, labels, imageBytes }) => `${rows} rows, ${labels}, ${imageBytes} bytes`);
  if (new Set(what).size > 1) throw new Error(`Not all read the same: ${what.join('; ')}`);
}

/** The images with all that a model would have said of them. */
async function fill(pool: Pool, digits: OutgoingImage[], times: number): Promise<void> {
  await createDataset(pool, { name: DATASET, classes: DIGIT_CLASSES });
  for (let time = 0; time < times; time++) {
    for (let from = 0; from < digits.length; from += ROWS_AT_ONCE) {
      const some = digits.slice(from, from + ROWS_AT_ONCE);
      await transaction(pool, async (client) => {
        await client.query("set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on'");
        await client.query(
          `insert into public.${DATASET} (id, image_base64, image_pgm, known_label, prediction, confidence, scores, format, width, height)
           select '${time}/' || id, image, decode(repeat('50', ${PGM_BYTES}), 'hex'), label, label, random(),
             array(select random()::real from generate_series(1, 10 + n - n)), 'png', 28, 28
           from unnest($1::text[], $2::text[], $3::int[]) with ordinality as t (id, image, label, n)`,
          [
            some.map(({ id }) => id),
            some.map(({ bytes }) => bytes.toString('base64')),
            some.map(({ label }) => Number(label)),
          ],
        );
      });
    }
  }
  await pool.query('vacuum (analyze)');
  await pool.query('checkpoint');
}
