import fc from 'fast-check';
import { FLOAT_TEXT_BYTES, writeFloat } from '../../../kudu-store/write/float-text.ts';

function textOf(value: number): string {
  const bytes = Buffer.alloc(FLOAT_TEXT_BYTES + 1, 'x');
  const end = writeFloat(bytes, 0, value);
  return bytes.toString('latin1', 0, end);
}

test.each([
  [0, '0'],
  [-0, '0'],
  [1, '1'],
  [-0.5, '-0.5'],
  [10, '10'],
  [123.25, '123.25'],
  [123456789, '123456792'],
  [0.1, '0.100000001'],
  [2 ** -20, '0.000000953674316'],
  [2 ** -30, '9.31322575e-10'],
  [2 ** 40, '1.09951163e12'],
  [1.401298464324817e-45, '1.40129846e-45'],
  [NaN, 'null'],
  [-Infinity, 'null'],
])('%d is %s', (value, text) => {
  expect(textOf(Math.fround(value))).toBe(text);
});

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

test('the same 32 bits are read from every text, which is JSON of up to nine digits', () => {
  const check = (pattern: number) => {
    bits[0] = pattern;
    const value = asFloat[0]!;
    const text = textOf(value);
    expect(text.length).toBeLessThanOrEqual(FLOAT_TEXT_BYTES);
    if (!Number.isFinite(value)) return;
    expect(Math.fround(JSON.parse(text) as number) + 0).toBe(value + 0);
    expect(text.replace(/e.*/, '').replace(/\D/g, '').replace(/^0+/, '').length).toBeLessThanOrEqual(9);
  };
  // All powers of two and what is beside them, and powers of ten, where the exponent changes.
  for (let exponent = 0; exponent < 256; exponent++) {
    for (const mantissa of [0, 1, 0x7fffff]) check(((exponent << 23) | mantissa) >>> 0);
  }
  for (let power = -45; power < 39; power++) {
    asFloat[0] = 10 ** power;
    const [exact] = bits;
    for (const beside of [-1, 0, 1]) check((exact! + beside) >>> 0);
  }
  fc.assert(fc.property(fc.nat(0xffffffff), check), { numRuns: 2000 });
});
