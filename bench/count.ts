import { commandContext, type RegisterCommand } from '../cli/command.ts';
import { wholeNumber } from '../cli/numbers.ts';
import { note } from '../cli/output.ts';
import type { Hub } from '../cli/hub.ts';
import { type Client, connect } from '../kudu/index.ts';
import { queryKudu } from '../query/kudu.ts';
import { queryPostgres } from '../query/postgres.ts';
import type { QueryResult } from '../query/result.ts';
import { createDataset } from '../sql/datasets.ts';
import { DIGIT_CLASSES } from './model.ts';
import { amount, type BenchResult, compare, median, printResult, printTable } from './result.ts';
import { openScene } from './scene.ts';

interface CountOptions {
  rows: string;
  runs: string;
  json?: boolean;
}

/** Of a 28 × 28 digit: the PNG in base64, and the PGM. */
const [BASE64_CHARACTERS, PGM_BYTES] = [360, 797];
const INSERTED_AT_ONCE = 100_000;
const TABLE = 'digits';
const COUNT = `select count(prediction), prediction as all_prediction from ${TABLE} group by prediction order by prediction`;
const CORRECT = `select count(prediction), prediction as correct_prediction from ${TABLE} where prediction = known_label group by prediction order by prediction`;

export const countCommand: RegisterCommand = (program) => {
  program
    .command('count')
    .description(
      'the classic queries, predictions by class: Kudu through imagehub sql beside Postgres, on the same rows',
    )
    .option('--rows <n>', 'images', '1000000')
    .option('--runs <n>', 'of each query, in turn; the median counts', '5')
    .option('--json', 'end with one line of JSON')
    .action(async (options: CountOptions) => {
      printResult(await countBench(options), options);
    });
};

async function countBench(options: CountOptions): Promise<BenchResult> {
  const rows = wholeNumber('--rows', options.rows, 1);
  const runs = wholeNumber('--runs', options.runs, 1);
  await using scene = await openScene(commandContext(), ['postgres', 'kudu', 'kudu-tserver']);
  const { hub } = scene;
  using client = await connect({ masters: hub.servers.kudu! });
  note(`filling Postgres with ${amount(rows)} rows`);
  await fillPostgres(hub, rows);
  note('filling Kudu with the same');
  await fillKudu(client, rows);
  const ways: [string, (statement: string) => Promise<string>][] = [
    ['Kudu', (statement) => queryKudu(client, statement, { maxBytes: Infinity }, answer)],
    ['Postgres, imagehub sql', (statement) => queryPostgres(hub.pool, statement, {}, answer)],
    [
      'Postgres, psql',
      async (statement) => JSON.stringify((await hub.pool.query({ text: statement, rowMode: 'array' })).rows),
    ],
  ];
  const seconds = new Map<string, number>();
  for (const statement of [COUNT, CORRECT]) {
    const times = new Map<string, number[]>();
    for (let run = 0; run < runs; run++) {
      const answers = new Set<string>();
      for (const [name, ask] of ways) {
        const began = performance.now();
        answers.add(await ask(statement));
        times.set(name, [...(times.get(name) ?? []), (performance.now() - began) / 1000]);
      }
      if (answers.size > 1) throw new Error(`The answers differ: ${[...answers].join(' / ')}`);
    }
    for (const [name, all] of times)
      seconds.set(`${name}${statement === CORRECT ? ', correct' : ''}`, median(all));
  }
  printTable(
    [`${amount(rows)} rows, seconds`, 'all predictions', 'correct ones'],
    ways.map(([name]) => [name, amount(seconds.get(name)!), amount(seconds.get(`${name}, correct`)!)]),
  );
  const peers = ways.slice(1).map(([name]) => ({ name, value: seconds.get(name)! }));
  return compare('count', 's', 'less', seconds.get('Kudu')!, peers, {
    rows,
    seconds: Object.fromEntries(seconds),
  });
}

async function answer({ batches }: QueryResult): Promise<string> {
  const rows: unknown[] = [];
  for await (const batch of batches) rows.push(...batch);
  return JSON.stringify(rows);
}

/** n % 13 = 0: wrong; the pictures are noise, as compressed ones are. */
const predictionOf = (n: number): number => (n % 13 === 0 ? n + 1 : n) % 10;

async function fillPostgres({ pool }: Hub, rows: number): Promise<void> {
  await createDataset(pool, { name: TABLE, classes: DIGIT_CLASSES });
  for (let from = 0; from < rows; from += INSERTED_AT_ONCE) {
    await pool.query(
      `begin; set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on';
       insert into public.${TABLE} (id, image_base64, image_pgm, known_label, prediction)
       select lpad(n::text, 9, '0'), left(p.base64, ${BASE64_CHARACTERS}), substr(p.bytes, 1, ${PGM_BYTES}), n % 10,
              (case when n % 13 = 0 then n + 1 else n end) % 10
       from generate_series(${from}, ${Math.min(rows, from + INSERTED_AT_ONCE) - 1}) n,
            lateral (select string_agg(sha512((n * 13 + k)::text::bytea), ''::bytea) as bytes,
                            string_agg(md5((n + k)::text), '') as base64 from generate_series(1, 13) k) p;
       commit`,
    );
  }
  await pool.query(`vacuum analyze public.${TABLE}`);
}

async function fillKudu(client: Client, rows: number): Promise<void> {
  const table = await client.createTable({
    name: TABLE,
    columns: [
      { name: 'id', type: 'STRING', key: true },
      { name: 'image_base64', type: 'STRING' },
      { name: 'image_pgm', type: 'BINARY' },
      { name: 'prediction', type: 'INT32' },
      { name: 'known_label', type: 'INT32', nullable: true },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 4 }] },
  });
  const noise = crypto.getRandomValues(new Uint8Array(65_536));
  const text = Buffer.from(noise).toString('base64');
  await using session = client.session();
  for (let n = 0; n < rows; n++) {
    const at = (n * 31) % (noise.length - PGM_BYTES);
    const row = {
      id: String(n).padStart(9, '0'),
      image_base64: text.slice(at, at + BASE64_CHARACTERS),
      image_pgm: noise.subarray(at, at + PGM_BYTES),
      prediction: predictionOf(n),
      known_label: n % 10,
    };
    if (!session.insert(table, row)) await session.drained();
  }
}
