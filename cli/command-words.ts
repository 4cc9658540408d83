import { HubError } from '../errors.ts';

/** A quoted stretch, with quotes; a character after a backslash; or plain characters. */
const PIECE = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/suy;

/**
 * Splits a command line as a shell does, without its variables and patterns: `a 'b c' "d \"e\""` → `a`, `b c`, `d "e"`.
 * @throws HubError USAGE when a quote is not closed
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length;) {
    if (/\s/.test(line[at]!)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      at++;
      continue;
    }
    PIECE.lastIndex = at;
    const piece = PIECE.exec(line);
    if (!piece) throw new HubError('USAGE', `A quote is not closed: ${line}`);
    const [whole, single, double, escaped, plain] = piece;
    word = (word ?? '') + (single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain ?? '');
    at += whole.length;
  }
  if (word !== undefined) words.push(word);
  return words;
}
