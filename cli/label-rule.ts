import { InvalidArgumentError } from 'commander';
import { errorText } from '../errors.ts';
import { labelPattern } from '../ingest/labels.ts';
import type { Dataset } from '../sql/datasets.ts';

export type LabelRuleOption = Pick<Dataset, 'labelFrom' | 'labelPattern'>;

/** `--label-from`: `first-character`, `parent-folder`, `none`, or `regex:PATTERN` whose first group is the label. */
export function parseLabelRule(text: string): LabelRuleOption {
  if (text === 'none' || text === 'first-character' || text === 'parent-folder') {
    return { labelFrom: text, labelPattern: null };
  }
  if (!text.startsWith('regex:')) {
    throw new InvalidArgumentError('It is one of: none, first-character, parent-folder, regex:PATTERN.');
  }
  const pattern = text.slice('regex:'.length);
  try {
    labelPattern(pattern);
  } catch (error) {
    throw new InvalidArgumentError(errorText(error));
  }
  return { labelFrom: 'regex', labelPattern: pattern };
}
