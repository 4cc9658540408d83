import { primaryKey } from '../../../kudu/encoding/key.ts';
import { hashBucket, murmurHash64 } from '../../../kudu/encoding/murmur.ts';
import type { ColumnSpec } from '../../../kudu/schema/column.ts';
import { Schema } from '../../../kudu/schema/schema.ts';

const key = (columns: Omit<ColumnSpec, 'key'>[]) =>
  new Schema(columns.map((column) => ({ ...column, key: true })));

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

// From TestMurmurHash.java.
test.each([
  ['ab', 0, 7115271465109541368n],
  ['abcdefg', 0, 2601573339036254301n],
  ['quick brown fox', 42, 3575930248840144026n],
])('MurmurHash2 of %j with seed %d is %d', (input, seed, expected) => {
  expect(murmurHash64(Buffer.from(input), seed)).toBe(expected);
});

test('the bucket is the hash modulo the buckets, whatever the length and the seed', () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, index) => (index * 37 + 200) & 255);
  for (let length = 0; length <= 100; length++) {
    for (const seed of [0, 42, 0xffffffff]) {
      for (const buckets of [2, 3, 1000, 1_000_000]) {
        const expected = slowMurmur(bytes.subarray(0, length), seed) % BigInt(buckets);
        expect(hashBucket(bytes, length, seed, buckets)).toBe(Number(expected));
      }
    }
  }
});

test('text in a key is escaped and ended, except at the end', () => {
  const two = key([
    { name: 'a', type: 'STRING' },
    { name: 'b', type: 'STRING' },
  ]);
  expect(text(primaryKey(two, { a: 'foo', b: 'bar' }))).toBe('foo\0\0bar');
  expect(text(primaryKey(two, { a: 'xxx\0yyy', b: 'b\0r' }))).toBe('xxx\0\x01yyy\0\0b\0r');
});

const ALL_TYPES = key([
  { name: 'int8', type: 'INT8' },
  { name: 'int16', type: 'INT16' },
  { name: 'int32', type: 'INT32' },
  { name: 'int64', type: 'INT64' },
  { name: 'decimal32', type: 'DECIMAL32', precision: 9 },
  { name: 'decimal64', type: 'DECIMAL64', precision: 18 },
  { name: 'decimal128', type: 'DECIMAL128', precision: 38 },
  { name: 'varchar', type: 'VARCHAR', length: 10 },
  { name: 'string', type: 'STRING' },
  { name: 'binary', type: 'BINARY' },
]);

// From TestKeyEncoding.java, testPrimaryKeyEncoding.
test.each([
  [
    'the least values',
    [-128, -32768, -2147483648, -(2n ** 63n), 5n, 6n, 7n, '', '', ''],
    `00 0000 00000000 0000000000000000 80000005 8000000000000006 80000000000000000000000000000007 0000 0000`,
  ],
  [
    'the greatest values',
    [127, 32767, 2147483647, 2n ** 63n - 1n, 5n, 6n, 7n, 'abc\x01\0defgh', 'abc\x01\0def', '\0\x01binary'],
    `ff ffff ffffffff ffffffffffffffff 80000005 8000000000000006 80000000000000000000000000000007
     616263010001 6465666768 0000 616263010001 646566 0000 0001 62696e617279`,
  ],
  [
    'small numbers',
    [1, 2, 3, 4, 5n, 6n, 7n, 'abc\n123456', 'abc\n123', '\0\x01\x02\x03\x04\x05'],
    `81 8002 80000003 8000000000000004 80000005 8000000000000006 80000000000000000000000000000007
     6162630a313233343536 0000 6162630a313233 0000 000102030405`,
  ],
  [
    'negative numbers',
    [
      -1,
      -2,
      -3,
      -4,
      -5n,
      -6n,
      -7n,
      '\0abc\n\x01\x01\0 1',
      '\0abc\n\x01\x01\0 123\x01\0',
      '\0\x01\x02\x03\x04\x05\0',
    ],
    `7f 7ffe 7ffffffd 7ffffffffffffffc 7ffffffb 7ffffffffffffffa 7ffffffffffffffffffffffffffffff9
     0001 6162630a0101 0001 2031 0000 0001 6162630a0101 0001 2031323301 0001 0000 00010203040500`,
  ],
])('a key of every type: %s', (_, values, expected) => {
  const row = Object.fromEntries(
    ALL_TYPES.columns.map(({ name, type }, index) => [
      name,
      type === 'BINARY' ? Buffer.from(values[index] as string, 'latin1') : values[index]!,
    ]),
  );
  expect(Buffer.from(primaryKey(ALL_TYPES, row)).toString('hex')).toBe(expected.replaceAll(/\s/g, ''));
});

test('a number in an INT64 key is the same as its bigint', () => {
  const one = key([{ name: 'a', type: 'INT64' }]);
  for (const value of [0, -1, 2 ** 32, -(2 ** 32), 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 31, -(2 ** 31) - 1])
    expect(primaryKey(one, { a: value })).toEqual(primaryKey(one, { a: BigInt(value) }));
});

test('a key column that is not set is named', () => {
  expect(() => primaryKey(ALL_TYPES, { int8: 1 })).toThrow('Column int16 is part of the key and is not set.');
});

/** As src/kudu/util/hash_util.h has it, word for word. */
function slowMurmur(bytes: Uint8Array, seed: number): bigint {
  const m = 0xc6a4a7935bd1e995n;
  const u64 = (value: bigint) => BigInt.asUintN(64, value);
  let h = u64(BigInt(seed) ^ (BigInt(bytes.length) * m));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const blocks = bytes.length & ~7;
  for (let at = 0; at < blocks; at += 8) {
    let k = u64(view.getBigUint64(at, true) * m);
    k ^= k >> 47n;
    h = u64((h ^ u64(k * m)) * m);
  }
  if (bytes.length > blocks) {
    for (let at = blocks; at < bytes.length; at++) h ^= BigInt(bytes[at]!) << BigInt((at - blocks) * 8);
    h = u64(h * m);
  }
  h = u64((h ^ (h >> 47n)) * m);
  return h ^ (h >> 47n);
}
