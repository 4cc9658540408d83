import { expect, test } from '@jest/globals';
import { Writable } from 'node:stream';
import { printRows, type SqlFormat } from '../../cli/sql-output.ts';
import type { Cell } from '../../query/result.ts';

const COLUMNS = [
  { name: 'id', numeric: false },
  { name: 'n', numeric: true },
  { name: 'id', numeric: false },
];

async function print(format: SqlFormat, rows: Cell[][], limit = Infinity, columns = COLUMNS) {
  let text = '';
  const out = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  async function* batches() {
    yield* rows.map((row) => [row]);
  }
  const printed = await printRows({ columns, batches: batches() }, { format, limit }, out);
  return { text, ...printed };
}

test('csv quotes what has to be quoted, and tells null from an empty text', async () => {
  const { text } = await print('csv', [
    ['a,"b"\n', 1, null],
    ['', 9007199254740993n, Uint8Array.of(0, 255)],
    [[1, 'x'], '1.50', true],
  ]);
  expect(text).toBe('id,n,id\n"a,""b""\n",1,\n"",9007199254740993,\\x00ff\n"[1,""x""]",1.50,true\n');
});

test('json is one array of objects, ndjson an object in each line; a second column of a name gets another', async () => {
  const rows: Cell[][] = [
    ['a', '1.50', null],
    ['b', '0.12345678901234567', Buffer.from([1])],
    ['c', NaN, { deep: [9007199254740993n, Uint8Array.of(2)] }],
    ['d', '-0.000', false],
  ];
  const expected = [
    { id: 'a', n: 1.5, id_2: null },
    { id: 'b', n: '0.12345678901234567', id_2: '\\x01' },
    { id: 'c', n: 'NaN', id_2: { deep: ['9007199254740993', '\\x02'] } },
    { id: 'd', n: -0, id_2: false },
  ];
  const { text } = await print('json', rows);
  expect(JSON.parse(text)).toEqual(expected.map((row) => ({ ...row, n: row.n === 0 ? 0 : row.n })));
  const lines = (await print('ndjson', rows)).text.trimEnd().split('\n');
  expect(lines).toHaveLength(4);
  expect(JSON.parse(lines[1]!)).toEqual(expected[1]);
  expect((await print('json', [])).text).toBe('[]\n');
});

test('a table shortens long values and shows what a terminal would obey', async () => {
  const { text } = await print('table', [
    ['x'.repeat(500), 7, Buffer.alloc(802, 'P5')],
    ['a\x1b[31m\n', null, Uint8Array.of(1, 2)],
  ]);
  expect(text).toContain(`│ ${'x'.repeat(40)}… (500 characters) │    7 │ \\x50355035… (802 bytes) │`);
  expect(text).toContain('│ a\\x1b[31m\\n');
  expect(text).toContain('│ null │ \\x0102');
});

test('a limit ends the printing, and says so only if there was more', async () => {
  const rows = [
    ['a', 1, null],
    ['b', 2, null],
  ];
  expect(await print('csv', rows, 1)).toEqual({ text: 'id,n,id\na,1,\n', rows: 1, more: true });
  expect(await print('csv', rows, 2)).toMatchObject({ rows: 2, more: false });
});

test('who takes no more ends it without an error', async () => {
  let asked = 0;
  async function* endless(): AsyncGenerator<Cell[][]> {
    for (;;) yield [[`row ${asked++}`, 1, null]];
  }
  const out = new Writable({
    write(_chunk, _encoding, done) {
      setImmediate(() => done(asked < 50 ? null : Object.assign(new Error('gone'), { code: 'EPIPE' })));
    },
    highWaterMark: 1,
  });
  await printRows({ columns: COLUMNS, batches: endless() }, { format: 'csv', limit: Infinity }, out);
  expect(asked).toBeGreaterThanOrEqual(50);
  expect(asked).toBeLessThan(60);
});
