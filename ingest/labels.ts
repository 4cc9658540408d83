import { HubError, errorText } from '../errors.ts';
import type { Dataset } from '../sql/datasets.ts';

export type LabelRule = Pick<Dataset, 'labelFrom' | 'labelPattern'>;

/** Compiling a pattern costs more than using it; a process sees few of them. */
const patterns = new Map<string, RegExp>();

/**
 * A dataset's pattern, ready for use: Unicode, not anchored.
 * @throws HubError USAGE when it is no regular expression or has no group that could be the label.
 */
export function labelPattern(source: string): RegExp {
  let pattern = patterns.get(source);
  if (pattern) return pattern;
  const hint = 'For example regex:_(\\w+)\\.png$ takes the last word before .png.';
  try {
    pattern = new RegExp(source, 'u');
  } catch (error) {
    throw new HubError('USAGE', `“${source}” is not a regular expression: ${errorText(error)}`, {
      hint,
      cause: error,
    });
  }
  // Matching against "or nothing" tells the number of groups.
  if (new RegExp(`${source}|`, 'u').exec('')!.length < 2) {
    throw new HubError('USAGE', `“${source}” has no group ( ) whose match is the label.`, { hint });
  }
  patterns.set(source, pattern);
  return pattern;
}

/**
 * What the dataset's rule reads from an id (a file's path with `/`): class name or index as text; null: nothing.
 * `first-character` is the first of the file's name, `parent-folder` the folder right above the file, `regex` the
 * first group of the pattern's match.
 */
export function ruleLabel(rule: LabelRule, id: string): string | null {
  switch (rule.labelFrom) {
    case 'none':
      return null;
    case 'first-character': {
      const first = id.codePointAt(id.lastIndexOf('/') + 1);
      return first === undefined ? null : String.fromCodePoint(first);
    }
    case 'parent-folder': {
      const end = id.lastIndexOf('/');
      return end <= 0 ? null : id.slice(id.lastIndexOf('/', end - 1) + 1, end) || null;
    }
    case 'regex':
      return (rule.labelPattern && labelPattern(rule.labelPattern).exec(id)?.[1]) || null;
  }
}

const indexes = new WeakMap<readonly string[], Map<string, number>>();

/** Class index that a label's text means: a class *name* wins over an index; null when it names no class. */
export function resolveLabel(text: string, classes: readonly string[]): number | null {
  let byName = indexes.get(classes);
  // The length tells of a class appended to the same array since.
  if (byName?.size !== classes.length) {
    byName = new Map(classes.map((name, index) => [name, index]));
    indexes.set(classes, byName);
  }
  const trimmed = text.trim();
  const index = byName.get(text) ?? byName.get(trimmed);
  if (index !== undefined) return index;
  return /^\d{1,9}$/.test(trimmed) && Number(trimmed) < classes.length ? Number(trimmed) : null;
}
