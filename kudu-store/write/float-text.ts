/** Digits that tell any two numbers of 32 bits apart. */
const DIGITS = 9;
const ONE = 10 ** (DIGITS - 1);
/** Numbers from 10⁻⁷ on are written without an exponent, as JavaScript does. */
const LEAST_PLAIN = -7;
const [ZERO, POINT, MINUS, E] = [...Buffer.from('0.-e', 'latin1')] as [number, number, number, number];

/** 10 to the powers that scale a number of 32 bits, down to the smallest (1.4e-45), to nine digits before the point. */
const LEAST_POWER = -38;
const POWERS = Float64Array.from({ length: 93 }, (_, i) => Number(`1e${i + LEAST_POWER}`));

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);
/** By a number's exponent to base 2, as it is stored: the one to base 10 of the least number that has it. */
const EXPONENTS = Int8Array.from({ length: 255 }, (_, stored) => Math.floor(Math.log10(2 ** (stored - 127))));

/** The most that `writeFloat` writes. */
export const FLOAT_TEXT_BYTES = 18;

/**
 * Writes a number of 32 bits as JSON with up to nine digits, from which the same 32 bits are read again; null where it is none
 * (NaN, infinities). Its digits come from one multiplication: that may be wrong by half a unit in the ninth and a little more,
 * while neighbouring numbers are six such halves apart and more. `toPrecision` takes two to three times as long, and leaves a text.
 * @returns where it ended
 */
export function writeFloat(bytes: Uint8Array, at: number, value: number): number {
  if (value !== value || value === Infinity || value === -Infinity) {
    bytes.set(NULL, at);
    return at + NULL.length;
  }
  if (value < 0) bytes[at++] = MINUS;
  const size = Math.abs(value);
  if (size === 0) {
    bytes[at++] = ZERO;
    return at;
  }
  FLOAT[0] = size;
  const stored = BITS[0]! >>> 23;
  let exponent = stored > 0 ? EXPONENTS[stored]! : Math.floor(Math.log10(size));
  let digits = scaled(size, exponent);
  // Numbers with one exponent to base 2 may have two to base 10; a logarithm may be off where it is nearly whole.
  if (digits >= ONE * 10) digits = scaled(size, ++exponent);
  else if (digits < ONE) digits = scaled(size, --exponent);
  digits |= 0;
  let count = DIGITS;
  for (let shorter; count > 1 && (shorter = (digits / 10) | 0) * 10 === digits; count--) digits = shorter;
  if (exponent < 0 && exponent >= LEAST_PLAIN) {
    bytes[at++] = ZERO;
    bytes[at++] = POINT;
    for (let zeros = exponent + 1; zeros < 0; zeros++) bytes[at++] = ZERO;
    return writeDigits(bytes, at, digits, count, 0);
  }
  if (exponent >= 0 && exponent < DIGITS) {
    at = writeDigits(bytes, at, digits, count, exponent + 1);
    for (let zeros = count; zeros <= exponent; zeros++) bytes[at++] = ZERO;
    return at;
  }
  at = writeDigits(bytes, at, digits, count, 1);
  bytes[at++] = E;
  if (exponent < 0) bytes[at++] = MINUS;
  const power = Math.abs(exponent);
  return writeDigits(bytes, at, power, power < 10 ? 1 : 2, 0);
}

/** The most that `writeFloats` writes of so many numbers. */
export const floatsTextBytes = (count: number): number => 2 + count * (FLOAT_TEXT_BYTES + 1);

const [OPEN, COMMA, CLOSE] = [...Buffer.from('[,]', 'latin1')] as [number, number, number];

/** Writes a JSON list. @returns where it ended */
export function writeFloats(bytes: Uint8Array, start: number, values: Float32Array): number {
  let at = start;
  bytes[at++] = OPEN;
  for (let i = 0; i < values.length; i++) {
    if (i > 0) bytes[at++] = COMMA;
    at = writeFloat(bytes, at, values[i]!);
  }
  bytes[at++] = CLOSE;
  return at;
}

/** As `writeFloats`. */
export function floatsText(values: Float32Array | null): string | null {
  if (values === null) return null;
  const bytes = Buffer.allocUnsafe(floatsTextBytes(values.length));
  return bytes.toString('latin1', 0, writeFloats(bytes, 0, values));
}

const NULL = Buffer.from('null', 'latin1');

const scaled = (size: number, exponent: number): number =>
  Math.round(size * POWERS[DIGITS - 1 - exponent - LEAST_POWER]!);

/** @param point after so many digits there is one, if more follow; 0: none */
function writeDigits(bytes: Uint8Array, at: number, digits: number, count: number, point: number): number {
  const end = point > 0 && point < count ? at + count + 1 : at + count;
  let rest = digits;
  for (let to = end - 1, left = count; left > 0; left--) {
    if (left === point && point < count) bytes[to--] = POINT;
    const shorter = (rest / 10) | 0;
    bytes[to--] = ZERO + rest - shorter * 10;
    rest = shorter;
  }
  return end;
}
