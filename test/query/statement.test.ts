import { expect, test } from '@jest/globals';
import { checkQuery, markPosition } from '../../query/statement.ts';

test.each([
  'select 1',
  ' -- a comment\n /* another */ with x as (select 1) select * from x',
  'values (1)',
  '(select 1)',
  'selec 1',
])('%j is left to the database', (statement) => {
  expect(() => checkQuery(statement)).not.toThrow();
});

test.each([
  ['update mnist set known_label = 3', 'it does not take update'],
  ['-- select\nDELETE from mnist', 'it does not take delete'],
  ['explain select 1', 'it does not take explain'],
  [' /* nothing */ ', 'The query is empty'],
])('%j is refused', (statement, message) => {
  expect(() => checkQuery(statement)).toThrow(message);
});

test('a place in a statement is marked in its line', () => {
  expect(markPosition('select a\nfrom b\twhere c', 14)).toBe('LINE 2: from b where c\n            ^');
  expect(markPosition('select nope', 8)).toBe('LINE 1: select nope\n               ^');
  // Postgres counts characters, JavaScript halves of some.
  expect(markPosition("select '🙂', nope", 13)).toBe("LINE 1: select '🙂', nope\n                     ^");
});

test('of a long line the part around the place is shown', () => {
  const marked = markPosition(`select ${'a, '.repeat(100)}nope${', b'.repeat(100)}`, 308);
  const [line, mark] = marked.split('\n');
  expect(line).toMatch(/^LINE 1: ….*nope.*…$/);
  expect(line!.slice(mark!.length - 1)).toMatch(/^nope/);
  expect(line!.length).toBeLessThan(140);
});
