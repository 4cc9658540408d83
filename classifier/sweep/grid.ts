import { HubError } from '../../errors.ts';
import { TRAINING, type TrainingOptions, trainingOptions } from '../train/defaults.ts';

type Setting = keyof TrainingOptions;

/** For settings that vary or differ from the default: their values, as text or as themselves. */
export type Grid = { readonly [K in Setting]?: readonly unknown[] };

/** A range may not hold more values than this: more is a slip of the pen. */
const MOST_VALUES = 1000;
/** Of one grid, over all its windows. */
export const MOST_CELLS = 10_000;

/**
 * Reads a setting's values as written on a command line: alternatives separated by commas, of which each may be a range
 * `a..b` (whole steps of 1) or `a..b:step`, both ends included. Layers of `hidden` are joined by x, and `none` is no
 * hidden layer: `500x100,300,none`.
 * @throws HubError USAGE
 */
export function parseValues(setting: Setting, text: string): unknown[] {
  const flag = `--${setting} ${text}`;
  const items = text.split(',').map((item) => item.trim());
  if (items.includes('')) {
    throw new HubError('USAGE', `${flag} has an empty place.`, {
      hint: setting === 'hidden' ? 'No hidden layer is written none.' : 'Separate values by one comma each.',
    });
  }
  const values = items.flatMap((item): unknown[] => {
    if (setting === 'hidden') return [item === 'none' ? [] : layers(item, flag)];
    if (setting === 'scale') return [item];
    return item.includes('..') ? range(item, flag) : [number(item, flag)];
  });
  const shown = values.map((value) => JSON.stringify(value));
  const twice = shown.find((value, index) => shown.indexOf(value) !== index);
  if (twice === undefined) return values;
  throw new HubError('USAGE', `${flag} has ${twice} more than once.`, { hint: 'Each value once will do.' });
}

function layers(item: string, flag: string): number[] {
  if (/^\d+([x×]\d+)*$/.test(item)) return item.split(/[x×]/).map(Number);
  throw new HubError('USAGE', `${flag}: “${item}” is no list of layers.`, {
    hint: 'Join the sizes of layers by x, alternatives by commas: --hidden 500x100,300',
  });
}

function number(text: string, flag: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new HubError('USAGE', `${flag}: “${text}” is no number.`, {
    hint: 'Give numbers or ranges, separated by commas: 0.1,0.03 or 1..5 or 0..1:0.25',
  });
}

function range(item: string, flag: string): number[] {
  const [ends = '', stepText, ...rest] = item.split(':');
  const [from, to, ...more] = ends.split('..').map((end) => number(end, flag));
  const step = stepText === undefined ? 1 : number(stepText, flag);
  if (rest.length > 0 || more.length > 0 || from === undefined || to === undefined) {
    throw new HubError('USAGE', `${flag}: “${item}” is no range.`, {
      hint: 'A range is a..b or a..b:step, e.g. 1..5 or 0.1..0.5:0.1',
    });
  }
  if (!(step > 0) || to < from) {
    const why = step > 0 ? `ends before it begins` : `has a step of ${step}`;
    throw new HubError('USAGE', `${flag}: the range ${item} ${why}.`, {
      hint: 'A range goes up, by a step of more than 0: 1..5 or 0.1..0.5:0.1',
    });
  }
  // Some tolerance: 0.1 + 2 · 0.1 is a little more than 0.3.
  const count = Math.floor((to - from) / step + 1e-9) + 1;
  if (count > MOST_VALUES) {
    throw new HubError(
      'USAGE',
      `${flag}: the range ${item} holds ${count} values; ${MOST_VALUES} are allowed.`,
      {
        hint: 'Take a larger step: a..b:step',
      },
    );
  }
  // Rounded to what a person would have written.
  return Array.from({ length: count }, (_, index) => Number((from + index * step).toPrecision(12)));
}

/**
 * Every combination of the values, each as complete and checked settings; the last setting varies fastest, which is
 * always the seed.
 * @param defaults win over those of `TRAINING`
 * @throws HubError USAGE that lists every bad value
 */
export function expandGrid(grid: Grid, defaults: Partial<TrainingOptions> = {}): TrainingOptions[] {
  const names = (Object.keys(TRAINING) as Setting[]).filter((name) => name !== 'seed');
  const axes = [...names, 'seed' as const]
    .map((name) => ({ name, values: grid[name] }))
    .filter((axis): axis is { name: Setting; values: readonly unknown[] } => axis.values !== undefined);
  checkSize(axes.reduce((product, { values }) => product * values.length, 1));
  let combinations: { [K in Setting]?: unknown }[] = [{}];
  for (const { name, values } of axes) {
    // Each by itself first, so that one bad value is named once.
    for (const value of values) trainingOptions({ [name]: value });
    combinations = combinations.flatMap((each) => values.map((value) => ({ ...each, [name]: value })));
  }
  return combinations.map((values) => trainingOptions(values, defaults));
}

/** @throws HubError USAGE */
export function checkSize(cells: number): void {
  if (cells <= MOST_CELLS) return;
  throw new HubError('USAGE', `That would be ${cells} trainings; a sweep has at most ${MOST_CELLS}.`, {
    hint: 'Sweep over fewer values at a time.',
  });
}
