import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { COPY_HEADER, COPY_TRAILER, CopyWriter } from '../../sql/binary-copy.ts';
import { testServers } from '../support/servers.ts';

let client: pg.Client;
beforeAll(async () => {
  client = new pg.Client({ connectionString: testServers().postgres });
  await client.connect();
});
afterAll(() => client.end());

/** Writes one value into a column of that type with COPY; what Postgres then says it is, as text. */
async function roundTrip(
  type: string,
  write: (out: CopyWriter) => void,
  capacity?: number,
): Promise<unknown> {
  await client.query(`create temp table if not exists copied (value ${type})`);
  try {
    const out = new CopyWriter(capacity);
    out.row(1);
    write(out);
    await pipeline(
      Readable.from([Buffer.concat([COPY_HEADER, out.bytes(), COPY_TRAILER])]),
      client.query(copyFrom('copy copied from stdin (format binary)')),
    );
    return (await client.query<{ value: unknown }>('select value::text as value from copied')).rows[0]!.value;
  } finally {
    await client.query('drop table copied');
  }
}

describe('binary COPY, read by Postgres', () => {
  const cases: [type: string, expected: string | null, write: (out: CopyWriter) => void][] = [
    ['int', '2147483647', (out) => out.int4(2 ** 31 - 1)],
    ['int', '-2147483648', (out) => out.int4(-(2 ** 31))],
    ['bigint', '9223372036854775807', (out) => out.int8(2n ** 63n - 1n)],
    ['bigint', '-9223372036854775808', (out) => out.int8(-(2n ** 63n))],
    ['bigint', '9007199254740991', (out) => out.int8(Number.MAX_SAFE_INTEGER)],
    ['real', '3.4028235e+38', (out) => out.float4(3.4028234663852886e38)],
    ['real', '1e-45', (out) => out.float4(1.401298464324817e-45)],
    ['real', 'NaN', (out) => out.float4(NaN)],
    ['real', '-Infinity', (out) => out.float4(-Infinity)],
    ['double precision', '1.7976931348623157e+308', (out) => out.float8(Number.MAX_VALUE)],
    ['double precision', '-0', (out) => out.float8(-0)],
    ['real[]', '{0,0.5,1}', (out) => out.float4Array(Float32Array.of(0, 0.5, 1))],
    ['real[]', '{}', (out) => out.float4Array(new Float32Array(0))],
    ['text[]', '{#000000,"a b",""}', (out) => out.asciiArray(['#000000', 'a b', ''])],
    ['text[]', '{}', (out) => out.asciiArray([])],
    ['text[]', null, (out) => out.asciiArray(null)],
    ['bytea', '\\x', (out) => out.bytea(new Uint8Array(0))],
    ['bytea', '\\x00ff80', (out) => out.bytea(Uint8Array.of(0, 255, 128))],
    ['text', '', (out) => out.text('')],
    ['text', 'Grüße, 世界 🐻\t\\N\n"', (out) => out.text('Grüße, 世界 🐻\t\\N\n"')],
    ['text', '\ufffd', (out) => out.text('\ud83d')],
    ['text', '', (out) => out.base64(Buffer.alloc(0))],
    ['text', 'Zg==', (out) => out.base64(Buffer.from('f'))],
    ['text', 'Zm8=', (out) => out.base64(Buffer.from('fo'))],
    ['text', 'Zm9v', (out) => out.base64(Buffer.from('foo'))],
    ['jsonb', '{"a": [1, "ü", null]}', (out) => out.jsonb({ a: [1, 'ü', null] })],
    ['jsonb', '"text"', (out) => out.jsonb('text')],
    ['timestamptz', '2000-01-01 00:00:00+00', (out) => out.timestamp(Date.UTC(2000, 0, 1))],
    ['timestamptz', '1969-12-31 23:59:59.999+00', (out) => out.timestamp(-1)],
    ['timestamptz', '1900-01-01 00:00:00+00', (out) => out.timestamp(Date.UTC(1900, 0, 1))],
    ['timestamptz', '9999-12-31 00:00:00+00', (out) => out.timestamp(Date.UTC(9999, 11, 31))],
    ['int', null, (out) => out.int4(null)],
    ['bigint', null, (out) => out.int8(undefined)],
    ['real', null, (out) => out.float4(null)],
    ['double precision', null, (out) => out.float8(undefined)],
    ['real[]', null, (out) => out.float4Array(null)],
    ['bytea', null, (out) => out.bytea(null)],
    ['text', null, (out) => out.text(null)],
    ['jsonb', null, (out) => out.jsonb(null)],
    ['timestamptz', null, (out) => out.timestamp(null)],
  ];

  test.each(cases)('%s %s', async (type, expected, write) => {
    await client.query("set timezone = 'UTC'");
    expect(await roundTrip(type, write)).toBe(expected);
  });

  test('a buffer that is too small grows, wherever in a value its end falls', async () => {
    const value = 'x'.repeat(300);
    for (const capacity of [1, 2, 5, 6, 7, 100, 305, 306]) {
      expect(await roundTrip('text', (out) => out.text(value), capacity)).toBe(value);
    }
  });

  test('many rows of several columns stay apart', async () => {
    await client.query('create temp table several (id int, name text, scores real[])');
    const out = new CopyWriter(16);
    for (let i = 0; i < 5000; i++) {
      out.row(3);
      out.int4(i);
      out.text(i % 3 === 0 ? null : `row ${i}`);
      out.float4Array(new Float32Array(i % 4).fill(i));
    }
    await pipeline(
      Readable.from([Buffer.concat([COPY_HEADER, out.bytes(), COPY_TRAILER])]),
      client.query(copyFrom('copy several from stdin (format binary)')),
    );
    const { rows } = await client.query(
      `select count(*)::int as rows, count(name)::int as names, sum(cardinality(scores))::int as scores,
         bool_and(name = 'row ' || id) as named, bool_and(scores = array_fill(id::real, array[id % 4])) as scored from several`,
    );
    expect(rows).toEqual([{ rows: 5000, names: 3333, scores: 7500, named: true, scored: true }]);
  });
});
