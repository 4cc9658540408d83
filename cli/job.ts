import Table from 'cli-table3';
import { type Command, InvalidArgumentError } from 'commander';
import { cancelJob, pauseJob, resumeJob, throttleJob } from '../jobs/control.ts';
import { openSender } from '../jobs/dispatcher.ts';
import type { Job } from '../jobs/job.ts';
import type { JobDesk } from '../jobs/start.ts';
import { jobProgress, type JobProgress, watchJob } from '../jobs/work-off.ts';
import { listParts, type StoredPart } from '../sql/job-parts.ts';
import { type JobWorker, listJobs, liveWorkers } from '../sql/jobs.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { throttleOf } from './job-command.ts';
import { findKind } from './job-kinds.ts';
import {
  countsText,
  describePart,
  leaveToWorkers,
  showJob,
  stateText,
  unitOf,
  workOffShown,
} from './job-shown.ts';
import { report } from './output.ts';
import { duration } from './progress.ts';
import { interruptSignal } from './shutdown.ts';

interface JsonOption {
  json?: boolean;
}

const figures = new Intl.NumberFormat('en');
/** Tables without colours, which would be in the way of whatever reads them. */
const PLAIN = { head: [], border: [] };

function jobNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A job is named by its number.');
  return value;
}

export const jobCommand: RegisterCommand = (program) => {
  const command = program
    .command('job')
    .description('long work in parts: see how far it is, pause it, go on, end it')
    .addHelpText(
      'after',
      '\nParts are taken by imagehub run worker (imagehub run starts one too), on any number of machines.' +
        '\nWhat a part has written stays, whatever becomes of its job or its worker.',
    );

  json(command.command('list'))
    .description('the newest jobs and the workers that run')
    .argument('[dataset]', 'only those of this dataset')
    .option('--kind <kind>', 'only this kind')
    .option('--open', 'only those that are not at their end')
    .option('--limit <n>', 'most to list', '20')
    .action(async (dataset: string | undefined, options: JsonOption & ListOptions) => {
      await using hub = await openHub(commandContext());
      const { kind, open } = options;
      const jobs = await listJobs(hub.pool, { dataset, kind, open, limit: Number(options.limit) || 20 });
      const shown = await Promise.all(jobs.map(({ job }) => jobProgress(hub.pool, job)));
      report(options, { jobs: shown, workers: await liveWorkers(hub.pool) }, jobsText);
    });

  json(one(command.command('show'), 'one job, its parts that run or failed'))
    .option('--parts', 'all of its parts')
    .action(async (id: number, options: JsonOption & { parts?: boolean }) => {
      await using hub = await openHub(commandContext());
      const job = await jobProgress(hub.pool, id);
      const parts = options.parts
        ? await listParts(hub.pool, id, { limit: job.parts })
        : await listParts(hub.pool, id, { states: ['running', 'failed'] });
      const kind = await findKind(job.kind);
      const unit = await unitOf(job);
      report(options, { ...job, partList: parts }, () =>
        jobText(job, unit, parts, (what) => describePart(kind, what)),
      );
    });

  json(
    one(command.command('watch'), 'look on until it is at its end or paused; status 1 unless it is done'),
  ).action(async (id: number, options: JsonOption) => {
    await using hub = await openHub(commandContext());
    const before = await jobProgress(hub.pool, id);
    const unit = await unitOf(before);
    const shown = showJob(before, unit);
    const job = await watchJob(hub.pool, id, {
      signal: interruptSignal(),
      onProgress: shown.onProgress,
    }).finally(shown.stop);
    if (job.state !== 'done') process.exitCode = 1;
    report(options, job, () => stateText(job, unit));
  });

  json(one(command.command('pause'), 'finish the parts in hand and begin no more')).action(
    steer((desk, id) => pauseJob(desk, id)),
  );
  json(one(command.command('cancel'), 'end it for good; what its parts have written stays')).action(
    steer((desk, id) => cancelJob(desk, id)),
  );
  json(one(command.command('throttle'), 'let it go faster or slower, from the next part on'))
    .argument('<n>', 'images per second over all workers; off: as fast as they can')
    .action(async (id: number, text: string, options: JsonOption) => {
      const throttle = text === 'off' ? null : throttleOf(text);
      await steer((desk) => throttleJob(desk, id, throttle))(id, options);
    });

  json(
    one(command.command('resume'), 'go on with a job that is paused or failed; failed parts are tried again'),
  )
    .option('--here', 'work on it in this process too, until it is done')
    .action(async (id: number, options: JsonOption & { here?: boolean }) => {
      await using hub = await openHub(commandContext());
      await using dispatcher = await openSender(hub.pool);
      const desk = { ...hub, dispatcher };
      const job = await resumeJob(desk, id);
      if (options.here) await workOffShown(desk, job, options);
      else await leaveToWorkers(desk, job, options);
    });
};

interface ListOptions {
  kind?: string;
  open?: boolean;
  limit: string;
}

const json = (command: Command): Command => command.option('--json', 'one JSON document on standard output');

const one = (command: Command, description: string): Command =>
  command.description(description).argument('<job>', 'its number', jobNumber);

/** An action that changes a job and reports how it stands then. */
function steer(change: (desk: JobDesk, id: number) => Promise<Job>) {
  return async (id: number, options: JsonOption): Promise<void> => {
    await using hub = await openHub(commandContext());
    await using dispatcher = await openSender(hub.pool);
    const job = await change({ ...hub, dispatcher }, id);
    const unit = await unitOf(job);
    report(options, job, () => stateText(job, unit));
  };
}

const percent = ({ units, unitsDone }: Job): string =>
  units === 0 ? '100 %' : `${Math.floor((100 * unitsDone) / units)} %`;

const rateText = ({ perSecond }: JobProgress): string =>
  perSecond === null ? '' : `${figures.format(Number(perSecond.toPrecision(3)))}/s`;

function jobsText({ jobs, workers }: { jobs: JobProgress[]; workers: JobWorker[] }): string {
  const table = new Table({
    style: PLAIN,
    head: ['job', 'kind', 'dataset', 'state', 'done', 'rate', 'left', 'started by', 'counts'],
  });
  for (const job of jobs) {
    table.push([
      job.job,
      job.kind,
      job.dataset,
      job.state,
      `${percent(job)} of ${figures.format(job.units)}`,
      rateText(job),
      job.secondsLeft === null ? '' : duration(job.secondsLeft),
      job.schedule === null ? job.createdBy : `schedule ${job.schedule}`,
      job.error === null ? countsText(job) : short(job.error),
    ]);
  }
  const running = workers.map(({ worker, devices }) => `${worker} (${devices.join(', ')})`);
  const who = running.length === 0 ? 'none; imagehub run worker starts one' : running.join(', ');
  return `${jobs.length === 0 ? 'There are no jobs.' : table.toString()}\nWorkers: ${who}`;
}

const SHORT = 60;
const short = (text: string): string => (text.length > SHORT ? `${text.slice(0, SHORT - 1)}…` : text);

function jobText(
  job: JobProgress,
  unit: string,
  parts: StoredPart[],
  describe: (what: object) => string,
): string {
  const lines = [stateText(job, unit)];
  if (job.perSecond !== null) {
    const left = job.secondsLeft === null ? '' : `, ${duration(job.secondsLeft)} left`;
    lines.push(`${rateText(job)}${left}`);
  }
  if (job.throttle !== null) lines.push(`At most ${figures.format(job.throttle)} ${unit} per second.`);
  lines.push(`Parameters: ${JSON.stringify(job.parameters)}`);
  lines.push(`Started by ${job.createdBy} at ${job.createdAt.toISOString()}, needs ${job.device}.`);
  if (parts.length > 0) {
    const table = new Table({
      head: ['part', 'what', 'state', 'attempts', 'worker', 'error'],
      style: PLAIN,
    });
    for (const { part, what, state, attempts, worker, error } of parts) {
      table.push([part, describe(what), state, attempts, worker ?? '', error ?? '']);
    }
    lines.push(table.toString());
  }
  return lines.join('\n');
}
