import { type Command, Option } from 'commander';
import { HubError } from '../errors.ts';
import type { Sample, Selection } from '../sql/selection.ts';

export interface SelectionOptions extends SampleOptions {
  where?: string;
  since?: string;
  until?: string;
}

export interface SampleOptions {
  sample?: string;
  seed?: string;
  byClass?: boolean;
}

/** Adds --where, --since, --until and --sample: which images the command is about. */
export function addSelectionOptions(command: Command): Command {
  command
    .option('--where <sql>', 'only images that a condition in SQL holds for, e.g. "id like \'test/%\'"')
    .addOption(
      new Option(
        '--since <time>',
        'only images ingested at or after this: ISO 8601, or an age such as 12h or 7d',
      ),
    )
    .addOption(new Option('--until <time>', 'only images ingested before this'));
  return addSampleOptions(command);
}

/** Adds --sample, --seed and --by-class. */
export function addSampleOptions(command: Command): Command {
  return command
    .option('--sample <share>', 'of those a part, drawn by chance: 0.1 is a tenth')
    .option('--seed <n>', 'with --sample: another number draws others (default: 1)')
    .option('--by-class', 'with --sample: that share of each class, by known label, rounded up');
}

/** @throws HubError USAGE */
export function parseSelection({ where, since, until, ...sampling }: SelectionOptions): Selection {
  const selection = {
    where: where ?? null,
    since: since === undefined ? null : parseTime(since),
    until: until === undefined ? null : parseTime(until),
    sample: parseSample(sampling),
  };
  if (selection.since && selection.until && selection.since >= selection.until) {
    throw new HubError('USAGE', `Nothing is both since ${since} and until ${until}.`, {
      hint: 'Give --since the earlier of the two.',
    });
  }
  return selection;
}

/** @throws HubError USAGE */
export function parseSample({ sample, seed, byClass }: SampleOptions): Sample | null {
  if (sample === undefined) {
    if (seed === undefined && !byClass) return null;
    throw new HubError('USAGE', `${seed === undefined ? '--by-class' : '--seed'} is for --sample.`, {
      hint: 'Say how much is to be drawn: --sample 0.1',
    });
  }
  const share = sample.trim() === '' ? NaN : Number(sample);
  if (!(share > 0 && share <= 1)) {
    throw new HubError('USAGE', `--sample ${sample} is no share: more than 0, at most 1.`, {
      hint: 'A tenth is --sample 0.1',
    });
  }
  const number = Number(seed ?? 1);
  if (!Number.isInteger(number) || number < 0 || number > 0xffff_ffff || seed?.trim() === '') {
    throw new HubError('USAGE', `--seed ${seed} is no whole number from 0 to 4294967295.`);
  }
  return { share, seed: number, byClass: byClass ?? false };
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/**
 * ISO 8601 (a date is its first moment in UTC, a time without zone is UTC), or an age: `90s`, `15m`, `12h`, `7d`, `2w` before now.
 * @throws HubError USAGE
 */
export function parseTime(text: string, now = Date.now()): Date {
  const age = /^(\d{1,9})([smhdw])$/.exec(text);
  if (age) return new Date(now - Number(age[1]) * SECONDS[age[2] as keyof typeof SECONDS] * 1000);
  // JavaScript takes a time without zone as local time, and a date as UTC.
  const iso = text.replace(' ', 'T');
  const zoned = !iso.includes('T') || /(Z|[+-]\d\d:?\d\d)$/i.test(iso) ? iso : `${iso}Z`;
  const time = new Date(/^\d{4}-\d\d-\d\d/.test(iso) ? zoned : NaN);
  if (!Number.isNaN(time.getTime())) return time;
  throw new HubError('USAGE', `“${text}” is no time.`, {
    hint: 'Give ISO 8601, e.g. 2026-11-21 or 2026-11-21T08:30:00Z, or an age such as 12h or 7d.',
  });
}
