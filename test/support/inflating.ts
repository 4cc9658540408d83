import { constants, deflateRawSync } from 'node:zlib';

const MIB = 1024 * 1024;
const ADLER_BASE = 65_521;

/**
 * A zlib stream of some bytes and so many MiB of zeros, which are a thousandth of that: one block of zeros, over and over,
 * so that making it does not take the time and memory that inflating it takes.
 */
export function inflating(bytes: Uint8Array, mib: number): Buffer {
  const flushed = (data: Uint8Array) => deflateRawSync(data, { finishFlush: constants.Z_FULL_FLUSH });
  const zeros = flushed(Buffer.alloc(MIB));
  // Adler-32, to which a zero adds the first sum to the second.
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % ADLER_BASE;
    b = (b + a) % ADLER_BASE;
  }
  b = (b + a * ((mib * MIB) % ADLER_BASE)) % ADLER_BASE;
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(b * 65_536 + a);
  return Buffer.concat([
    Buffer.from([0x78, 0x9c]),
    ...(bytes.length > 0 ? [flushed(bytes)] : []),
    ...Array.from({ length: mib }, () => zeros),
    deflateRawSync(Buffer.alloc(0)),
    checksum,
  ]);
}
