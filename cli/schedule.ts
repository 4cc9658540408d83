import Table from 'cli-table3';
import { InvalidArgumentError } from 'commander';
import { checkCron, nextRun } from '../jobs/scheduler.ts';
import { liveWorkers } from '../sql/jobs.ts';
import {
  deleteSchedule,
  insertSchedule,
  listSchedules,
  type Schedule,
  type ScheduleRun,
} from '../sql/schedules.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { parseJobCommand } from './job-command.ts';
import { JOB_COMMANDS } from './job-kinds.ts';
import { note, report } from './output.ts';

interface JsonOption {
  json?: boolean;
}

export const scheduleCommand: RegisterCommand = (program) => {
  const command = program
    .command('schedule')
    .description('start jobs by the clock')
    .addHelpText(
      'after',
      `\nWhat can be scheduled begins with one of: ${Object.keys(JOB_COMMANDS).join(', ')}.` +
        '\nThe workers (imagehub run worker) start it: each time once, however many of them run. What was due while none ran' +
        '\nis not made up for, and nothing is started while its job of the time before is not at its end.' +
        "\n\nExample: imagehub schedule add 'reclassify mnist --only-outdated' '0 3 * * *'",
    );

  command
    .command('add <command> <cron>')
    .description('run a command that starts a job, e.g. every day at 3:00: 0 3 * * *')
    .option(
      '--timezone <name>',
      'IANA name of the zone that the times are in (default: that of this machine)',
    )
    .option('--json', 'one JSON document on standard output')
    .action(async (line: string, cron: string, options: JsonOption & { timezone?: string }) => {
      const timezone = options.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
      checkCron(cron, timezone);
      const { request } = await parseJobCommand(line);
      await using hub = await openHub(commandContext());
      // What is wrong with it shows now, and not at night.
      await request(hub);
      const schedule = await insertSchedule(hub.pool, {
        command: line.trim().replace(/^imagehub\s+/, ''),
        cron,
        timezone,
      });
      if ((await liveWorkers(hub.pool)).length === 0) {
        note('No worker runs now, and only workers start it: imagehub run worker');
      }
      const next = nextRun(schedule);
      report(
        options,
        { ...schedule, next },
        () => `Schedule ${schedule.schedule}: “${schedule.command}”, next at ${timeText(next, timezone)}.`,
      );
    });

  command
    .command('list')
    .description('what is scheduled, when it is due next, and how it went the last time')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: JsonOption) => {
      await using hub = await openHub(commandContext());
      const schedules = (await listSchedules(hub.pool)).map((schedule) => ({
        ...schedule,
        next: nextRun(schedule),
      }));
      report(options, schedules, schedulesText);
    });

  command
    .command('remove <schedule>')
    .description('start it no more; a job that it started goes on')
    .option('--json', 'one JSON document on standard output')
    .action(async (text: string, options: JsonOption) => {
      const id = Number(text);
      if (!Number.isSafeInteger(id)) throw new InvalidArgumentError('A schedule is named by its number.');
      await using hub = await openHub(commandContext());
      const schedule = await deleteSchedule(hub.pool, id);
      report(options, { removed: schedule }, () => `“${schedule.command}” is not scheduled any more.`);
    });
};

const timeText = (time: Date | null, timeZone: string): string =>
  time === null
    ? 'no time'
    : new Intl.DateTimeFormat('sv', { timeZone, dateStyle: 'short', timeStyle: 'medium' }).format(time);

type Listed = Schedule & { last: ScheduleRun | null; next: Date | null };

function schedulesText(schedules: Listed[]): string {
  if (schedules.length === 0) return 'Nothing is scheduled.';
  const table = new Table({
    head: ['schedule', 'command', 'cron', 'zone', 'next', 'last', 'outcome'],
    // Without colours, which would be in the way of whatever reads it.
    style: { head: [], border: [] },
  });
  for (const { schedule, command, cron, timezone, next, last } of schedules) {
    table.push([
      schedule,
      command,
      cron,
      timezone,
      timeText(next, timezone),
      last === null ? 'never' : timeText(last.due, timezone),
      last === null ? '' : outcomeText(last),
    ]);
  }
  return table.toString();
}

function outcomeText({ job, state, error }: ScheduleRun): string {
  const parts = [job === null ? null : `job ${job}`, state, error].filter((part) => part !== null);
  return parts.join(': ') || 'started; its job is not kept any more';
}
