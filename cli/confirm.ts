import { createInterface } from 'node:readline/promises';
import { HubError } from '../errors.ts';

/**
 * Asks on the terminal before something that cannot be undone.
 * @throws HubError INTERRUPTED when the answer is no, USAGE when there is nobody to ask and `--yes` was not given.
 */
export async function confirm(question: string, { yes }: { yes?: boolean }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) {
    throw new HubError('USAGE', `${question} There is no terminal to ask on.`, {
      hint: 'Give --yes if you are sure.',
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new HubError('INTERRUPTED', 'Nothing was changed.');
  } finally {
    terminal.close();
  }
}
