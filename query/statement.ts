import { HubError } from '../errors.ts';

/** First words of statements that are no queries; anything else is for the database to understand, or not. */
const OTHERS = new Set(
  (
    'abort alter analyze attach begin call checkpoint close cluster comment commit copy create deallocate declare delete ' +
    'describe detach discard do drop end execute explain export fetch grant import insert install listen load lock merge move ' +
    'notify pivot pragma prepare reassign refresh reindex release reset revoke rollback savepoint security set show start ' +
    'summarize truncate unlisten unpivot update use vacuum'
  ).split(' '),
);
const WRITING = new Set(['insert', 'update', 'delete', 'merge', 'truncate']);
const SKIPPED = /^(\s+|--[^\n]*(\n|$)|\/\*[^]*?\*\/)/;

/**
 * Refuses what is no query, before a database says of `update` that it had not expected that word.
 * @throws HubError USAGE
 */
export function checkQuery(statement: string): void {
  let rest = statement;
  for (let skipped; (skipped = SKIPPED.exec(rest));) rest = rest.slice(skipped[0].length);
  if (rest === '') throw new HubError('USAGE', 'The query is empty.');
  const word = /^\w*/.exec(rest)![0].toLowerCase();
  if (!OTHERS.has(word)) return;
  throw new HubError('USAGE', `imagehub sql answers a select, and only reads; it does not take ${word}.`, {
    ...(WRITING.has(word) && {
      hint: 'Labels are changed with imagehub relabel, or in psql (imagehub status prints how to connect).',
    }),
  });
}

/** Characters of a long line that are shown on either side of the place. */
const SHOWN = 60;

/**
 * The line of a statement with a mark below a place in it, as psql shows it:
 * ```
 * LINE 2: where predicted = 3
 *               ^
 * ```
 * @param position 1: the first character (code points, as Postgres counts)
 */
export function markPosition(statement: string, position: number): string {
  const before = [...statement].slice(0, position - 1).join('');
  const lines = before.split('\n');
  const whole = statement.split('\n')[lines.length - 1]!.replaceAll('\t', ' ');
  const at = lines.at(-1)!.length;
  const start = Math.max(0, at - SHOWN);
  const cut = whole.length > at + SHOWN;
  const shown = `${start > 0 ? '…' : ''}${whole.slice(start, at + SHOWN)}${cut ? '…' : ''}`;
  const head = `LINE ${lines.length}: `;
  return `${head}${shown}\n${' '.repeat(head.length + at - start + (start > 0 ? 1 : 0))}^`;
}
