import { type Command, Option } from 'commander';
import { HubError } from '../errors.ts';
import type { TimeColumn } from '../sql/drift-rows.ts';
import type { Moment, MonitorReference } from '../sql/drift-monitors.ts';
import { addSampleOptions, parseTime, type SampleOptions } from './selection.ts';

export interface ReferenceOptions extends SampleOptions {
  reference?: string;
  referenceSince?: string;
  referenceUntil?: string;
  by: TimeColumn;
}

/** Adds what both `drift` and `drift watch add` take. */
export function addReferenceOptions(command: Command, otherwise: string): Command {
  command
    .option('--reference-since <time>', 'compare with images from then on: ISO 8601, or an age such as 30d')
    .option('--reference-until <time>', `… and before this (default: ${otherwise})`)
    .addOption(
      new Option(
        '--reference <which>',
        'training: compare with the images that the live model’s training read',
      )
        .choices(['training'])
        .conflicts(['referenceSince', 'referenceUntil']),
    )
    .addOption(
      new Option('--by <time>', 'choose images by when they came in, or by when they were taken')
        .choices(['ingested', 'captured'])
        .default('ingested'),
    );
  return addSampleOptions(command);
}

/** @returns null: nothing was said. @throws HubError USAGE */
export function parseReference(options: ReferenceOptions): MonitorReference | null {
  if (options.reference === 'training') return { kind: 'training' };
  const since = parseMoment(options.referenceSince);
  const until = parseMoment(options.referenceUntil);
  if (!since && !until) return null;
  if (since && until && timeOf(since) >= timeOf(until)) {
    throw new HubError('USAGE', 'The reference begins at or after its end.', {
      hint: 'Give --reference-since the earlier of the two.',
    });
  }
  return { kind: 'span', since, until };
}

function parseMoment(text: string | undefined): Moment | null {
  if (text === undefined) return null;
  return AGE.test(text) ? { ago: parseDuration('a reference', text) } : { at: parseTime(text).toISOString() };
}

export function timeOf(moment: Moment, now = Date.now()): Date {
  return 'at' in moment ? new Date(moment.at) : new Date(now - moment.ago * 1000);
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
const AGE = /^(\d{1,9})([smhdw])$/;
/** Ten years: what is longer is a mistake, and fits no column. */
const LONGEST_S = 3650 * 86_400;

/** `90s`, `15m`, `12h`, `7d`, `2w`. @returns seconds. @throws HubError USAGE */
export function parseDuration(flag: string, text: string): number {
  const [, count, unit] = AGE.exec(text) ?? [];
  const seconds = Number(count) * (SECONDS[unit as keyof typeof SECONDS] ?? NaN);
  if (seconds > 0 && seconds <= LONGEST_S) return seconds;
  throw new HubError('USAGE', `${flag} ${text} is no length of time.`, {
    hint: 'Write a number and s, m, h, d or w: 15m, 1h, 7d.',
  });
}

/** 5400 → `90m`. */
export function durationText(seconds: number): string {
  const unit = (['w', 'd', 'h', 'm'] as const).find((each) => seconds % SECONDS[each] === 0) ?? 's';
  return `${seconds / SECONDS[unit]}${unit}`;
}

/** `psi=0.2,confidence_js=0.1` → by name. @throws HubError USAGE */
export function parseLimits(text: string): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const part of text.split(',')) {
    const [, name, value] = /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(part) ?? [];
    if (!name || !value) {
      throw new HubError('USAGE', `--max ${text}: “${part}” is no limit.`, {
        hint: 'Write measure=value, separated by commas: --max psi=0.2,accuracy_drop=0.02',
      });
    }
    limits[name] = Number(value);
  }
  return limits;
}
