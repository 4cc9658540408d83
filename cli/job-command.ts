import { Command, CommanderError, type OptionValues } from 'commander';
import { HubError } from '../errors.ts';
import { openSender } from '../jobs/dispatcher.ts';
import type { Job, JobContext, JobKind, JobRequest } from '../jobs/job.ts';
import type { ParseCommand } from '../jobs/scheduler.ts';
import { startJob } from '../jobs/start.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { splitWords } from './command-words.ts';
import { openHub } from './hub.ts';
import { JOB_COMMANDS } from './job-kinds.ts';
import { leaveToWorkers, workOffShown } from './job-shown.ts';

/** A command that starts a job. */
export interface JobCommand<P extends object = object> {
  /** With its arguments, as commander takes it: `reclassify <dataset>`. */
  usage: string;
  description: string;
  kind: JobKind<P>;
  /** Adds the options that are its own. */
  configure(command: Command): void;
  /**
   * Checks what is asked for, against the database too. Runs when the command is given, when it is scheduled, and whenever
   * the schedule starts it.
   * @param args the command's arguments, as text
   * @param options by name, as commander gives them
   * @throws HubError what is wrong with it
   */
  request(context: JobContext, args: string[], options: OptionValues): Promise<JobRequest<P>>;
  /** Lines about a job at its end, for people; default: its counts. */
  summary?(job: Job<P>): string;
}

/** Options of every command that starts a job. */
interface Options extends OptionValues {
  throttle?: string;
  detach?: boolean;
  json?: boolean;
}

/** The command with the options of all of its sort: it works on the job here, beside running workers, until it is done. */
export const registerJobCommand =
  (job: JobCommand): RegisterCommand =>
  (program) => {
    define(program, job, async (args, options) => {
      await using hub = await openHub(commandContext());
      await using dispatcher = await openSender(hub.pool);
      const desk = { ...hub, dispatcher };
      const request = await requestOf(job, desk, args, options);
      const started = await startJob(desk, job.kind, request);
      if (options.detach) await leaveToWorkers(desk, started, options);
      else await workOffShown(desk, started, options, (ended) => job.summary?.(ended));
    });
  };

function define(
  program: Command,
  job: JobCommand,
  action: (args: string[], options: Options) => Promise<void>,
): void {
  const command = program.command(job.usage).description(job.description);
  job.configure(command);
  command
    .option('--throttle <n>', 'At most so many images per second, over all workers together.')
    .option('--detach', 'Leave it to the workers (imagehub run worker) instead of working on it here.')
    .option('--json', 'One JSON document on standard output.')
    .addHelpText(
      'after',
      '\nThe work is a job: it is cut into parts, which this process and every running worker take. An interrupt' +
        '\nfinishes the parts in hand and pauses it; imagehub job resume goes on. imagehub schedule add runs it by the clock.',
    )
    .action(() => action(command.processedArgs.map(String), command.opts()));
}

async function requestOf(
  job: JobCommand,
  context: JobContext,
  args: string[],
  { throttle, ...options }: Options,
): Promise<JobRequest> {
  const request = await job.request(context, args, options);
  return throttle === undefined ? request : { ...request, throttle: throttleOf(throttle) };
}

/** @throws HubError USAGE */
export function throttleOf(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new HubError('USAGE', `A throttle of ${text} is no number of images per second.`);
}

/**
 * Reads a command line that starts a job, as `schedule add` takes it.
 * @throws HubError USAGE
 */
export const parseJobCommand: ParseCommand = async (line) => {
  const words = splitWords(line);
  if (words[0] === 'imagehub') words.shift();
  const load = Object.hasOwn(JOB_COMMANDS, words[0] ?? '') ? JOB_COMMANDS[words[0]!] : undefined;
  if (!load) {
    const known = Object.keys(JOB_COMMANDS).join(', ');
    throw new HubError('USAGE', `“${line}” is no command that starts a job.`, {
      hint: `What can be scheduled begins with one of: ${known}`,
    });
  }
  const job = await load();
  let parsed: { args: string[]; options: Options } | undefined;
  const silent = { writeOut: () => undefined, writeErr: () => undefined };
  const program = new Command('imagehub').exitOverride().configureOutput(silent);
  define(program, job, async (args, options) => void (parsed = { args, options }));
  try {
    await program.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throw new HubError('USAGE', `“${line}”: ${error.message.replace(/^error: /, '')}`, {
      hint: `imagehub ${words[0]} --help`,
      cause: error,
    });
  }
  const { args, options } = parsed!;
  return { kind: job.kind, request: (context) => requestOf(job, context, args, options) };
};
