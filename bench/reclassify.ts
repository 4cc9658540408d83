import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import { note } from '../cli/output.ts';
import { promote, registerModel } from '../classifier/registry.ts';
import { errorText, HubError } from '../errors.ts';
import { openDirectSink } from '../ingest/direct.ts';
import { transaction } from '../sql/database.ts';
import { dropDataset, getDataset } from '../sql/datasets.ts';
import { ensurePredictions } from '../sql/predictions.ts';
import { lastLines } from '../stack/processes.ts';
import { benchModel } from './model.ts';
import { measureGrowth } from './reclassify-growth.ts';
import { amount, type BenchResult, compare, median, type Measured, printResult } from './result.ts';
import { makeDataset, openScene, readMnist, type Scene } from './scene.ts';

interface ReclassifyOptions {
  data: string;
  python: string;
  runs: string;
  copies: string;
  processes: string;
  growth?: boolean;
  json?: boolean;
}

export const reclassifyCommand: RegisterCommand = (program) => {
  program
    .command('reclassify')
    .description(
      '60,000 stored MNIST images get the predictions of another model; how the table grows by that',
    )
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--python <program>', 'a Python with the peers’ packages', 'python3')
    .option(
      '--runs <n>',
      'alternating runs of each, of which the median counts; 0: only how the table grows',
      '3',
    )
    .option('--copies <n>', 'each image is stored so often, under ids of their own', '1')
    .option('--processes <list>', 'how many of Python, each tried; empty: none', '1,2')
    .option('--no-growth', 'leave out how the table grows')
    .option('--json', 'end with one line of JSON')
    .action(async (options: ReclassifyOptions) => {
      printResult(await reclassifyBench(commandContext(), options), options);
    });
};

const SOURCE = 'images_before';
/** Any other seed than the first model's: most predictions differ. */
const OTHER_SEED = 5;
const ERROR_LINES = 15;

/** Python that has the same result (replaced predictions are kept), and that does not keep them. */
const peersOf = (processes: string) =>
  processes
    .split(',')
    .filter(Boolean)
    .flatMap((count) =>
      [true, false].map((history) => ({
        name: `python × ${count}${history ? '' : ', replaced predictions lost'}`,
        env: { PROCESSES: count, HISTORY: history ? '1' : '0' },
        rates: [] as number[],
      })),
    );

/**
 * Images per second from the first row that is read to the last commit, start-up of either process (threads, model) not
 * counted, each run on a table of its own that was just filled and vacuumed.
 */
async function reclassifyBench(context: CommandContext, options: ReclassifyOptions): Promise<BenchResult> {
  await using scene = await openScene(context, ['postgres']);
  const { hub } = scene;
  const images = await readMnist(options.data);
  await makeDataset(hub, SOURCE);
  const sink = await openDirectSink(hub.config, hub.servers, await getDataset(hub.pool, SOURCE), hub.log);
  await sink.send(images);
  await sink.close();
  // Now, and not by autovacuum beside somebody's run.
  await hub.pool.query(`vacuum (analyze) public.${SOURCE}`);
  await hub.pool.query(`alter table public.${SOURCE} set (autovacuum_enabled = false)`);
  const model = join(scene.home, 'other.onnx');
  await writeFile(model, benchModel(OTHER_SEED).onnx);

  const count = images.length * Number(options.copies);
  const ours: number[] = [];
  const peers = peersOf(options.processes);
  for (let run = 1; run <= Number(options.runs); run++) {
    for (const [n, { name, env, rates }] of peers.entries()) {
      const table = await stored(scene, `peer_${run}_${n}`, Number(options.copies));
      const rate = await runPython(scene, { python: options.python, env, model, table });
      await checkAndDrop(scene, table, count);
      note(`${name}: ${amount(rate)} images/s`);
      rates.push(rate);
    }
    const table = await stored(scene, `ours_${run}`, Number(options.copies));
    const rate = await runOurs(scene, table.name);
    await checkAndDrop(scene, table, count);
    note(`imagehub: ${amount(rate)} images/s`);
    ours.push(rate);
  }
  const growth = options.growth === false ? undefined : await measureGrowth(scene);
  const measured: Measured[] =
    ours.length === 0 ? [] : peers.map(({ name, rates }) => ({ name, value: median(rates) }));
  const rate = ours.length === 0 ? 0 : median(ours);
  return compare('reclassify', 'images/s', 'more', rate, measured, { images: count, growth });
}

export interface StoredImages {
  name: string;
  /** The model that has just gone live, and its promotion. */
  model: number;
  promotion: number;
}

/**
 * A dataset with the images as the first model has classified them; another model has just gone live.
 * @param copies of each image
 */
export async function stored(
  { hub: { pool, ...hub } }: Scene,
  name: string,
  copies: number,
  prepare: (table: string) => string = () => '',
): Promise<StoredImages> {
  await makeDataset({ pool, ...hub }, name);
  const { liveModelId } = await getDataset(pool, name);
  const { rows } = await pool.query<{ columns: string }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
      where attrelid = $1::regclass and attnum > 0 and not attisdropped and attname not in ('dataset', 'id', 'model_id')`,
    [name],
  );
  const { columns } = rows[0]!;
  await pool.query(prepare(name));
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on'");
    await client.query(
      `insert into public."${name}" (id, model_id, ${columns})
       select i.id || case when copy > 1 then '/' || copy else '' end, ${liveModelId}, ${columns}
         from (select i.*, row_number() over (order by i.ctid) as place from public.${SOURCE} i) i, generate_series(1, ${copies}) copy
        order by copy, place`,
    );
  });
  await ensurePredictions(pool, [liveModelId!]);
  const model = await registerModel(pool, { dataset: name, source: 'bench', ...benchModel(OTHER_SEED) });
  const { promotionNo } = await promote(pool, name, model);
  await pool.query(`vacuum (analyze) public."${name}"`);
  await pool.query('checkpoint');
  return { name, model, promotion: promotionNo };
}

/** `imagehub reclassify` as a process, started as users start it, which says when its threads have the model. */
async function runOurs({ hub: { pool, servers, config } }: Scene, dataset: string): Promise<number> {
  const main = fileURLToPath(new URL('../bin/imagehub.js', import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [main, 'reclassify', dataset, '--json'],
    {
      env: {
        ...process.env,
        IMAGEHUB_HOME: config.home,
        IMAGEHUB_POSTGRES_URL: servers.postgres,
        IMAGEHUB_LOG_LEVEL: 'debug',
        IMAGEHUB_LOG_FORMAT: 'json',
      },
    },
  );
  const { job, units } = JSON.parse(stdout) as { job: number; units: number };
  const loaded = stderr.split('\n').find((line) => line.includes('"the model is loaded"'));
  const { time } = JSON.parse(loaded!) as { time: number };
  const { rows } = await pool.query<{ end: number }>(
    'select extract(epoch from max(finished_at))::float8 * 1000 as end from imagehub.job_parts where job = $1',
    [job],
  );
  return Math.round((units / (rows[0]!.end - time)) * 1000);
}

async function runPython(
  { hub }: Scene,
  {
    python,
    env,
    model,
    table,
  }: { python: string; env: NodeJS.ProcessEnv; model: string; table: StoredImages },
): Promise<number> {
  const script = fileURLToPath(new URL('./peers/python_reclassify.py', import.meta.url));
  const args = [script, table.name, String(table.model), String(table.promotion)];
  const environment = { ...process.env, PGURL: hub.servers.postgres, MODEL: model, ...env };
  try {
    const { stdout } = await promisify(execFile)(python, args, { env: environment });
    return Number(/([\d.]+) images\/s/.exec(stdout)![1]);
  } catch (error) {
    const wrote = (error as { stderr?: string }).stderr || errorText(error);
    throw new HubError('STACK_FAILED', `The Python peer failed:\n${lastLines(wrote, ERROR_LINES)}`, {
      hint: 'bench/README.md says what to install for the peers.',
    });
  }
}

/** Dropped, or autovacuum would look after it beside a later run. */
async function checkAndDrop({ hub: { pool } }: Scene, table: StoredImages, images: number): Promise<void> {
  const { rows } = await pool.query<{ done: number }>(
    `select count(*) as done from public."${table.name}" where model_id = $1 and promotion_no = $2 and prediction >= 0 and scores is not null`,
    [table.model, table.promotion],
  );
  if (rows[0]!.done !== images)
    throw new Error(`${rows[0]!.done} images of ${table.name} instead of ${images} are done.`);
  await dropDataset(pool, table.name);
}
