import { expect, test } from '@jest/globals';
import { bulkRequests, type Operation } from '../../indexer/bulk-request.ts';

const put = (id: string, text: string): Operation => ({
  index: 'i',
  dataset: 'd',
  id,
  revision: 1,
  source: (out) => out.text(JSON.stringify({ text })),
});

const requests = (operations: Operation[]) => [
  ...bulkRequests(operations, 'external', () => {
    throw new Error('refused');
  }),
];

const MEGABYTE = 1024 * 1024;

test('a body holds a line for each action and each document', () => {
  const [request] = requests([put('ü"', 'a\nb'), { ...put('b', ''), source: null }]);
  expect(request!.body.toString()).toBe(
    '{"index":{"_index":"i","_id":"d/ü\\"","version":1,"version_type":"external"}}\n{"text":"a\\nb"}\n' +
      '{"delete":{"_index":"i","_id":"d/b","version":1,"version_type":"external"}}\n',
  );
});

test('what is more than one request takes is in several, in its order', () => {
  const operations = Array.from({ length: 20 }, (_, i) => put(`${i}`, 'x'.repeat(MEGABYTE)));
  const made = requests(operations);
  expect(made.map((request) => request.operations.length)).toEqual([8, 8, 4]);
  expect(made.flatMap((request) => request.operations)).toEqual(operations);
});

test('a body is not written over before it is released', () => {
  const [first] = requests([put('a', 'first')]);
  const before = first!.body.toString();
  for (let i = 0; i < 5; i++) requests([put('b', `other ${i}`)])[0]!.release();
  expect(first!.body.toString()).toBe(before);
});
