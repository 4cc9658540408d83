/** Bytes per value of the TIFF types 1–10; 0: unknown. UNDEFINED (7) is left as bytes by the reader and costs nothing. */
const VALUE_BYTES = [0, 1, 1, 2, 4, 8, 1, 0, 2, 4, 8];
const POINTERS = new Set([0x8769, 0x8825, 0xa005]); // Exif, GPS and interoperability directories
const ENTRY_BYTES = 12;
/** Far above any camera's EXIF and a large TIFF's strip offsets; reading them takes some 50 ms. */
const MAX_VALUES = 2_000_000;

/**
 * Whether reading an EXIF block is cheap. In a damaged or hostile one thousands of entries can each claim all of the
 * block as their value, and exif-reader would fill the memory with them. The layout is that of TIFF; see
 * headers/tiff.ts.
 */
export function isReadable(block: Buffer): boolean {
  const base = block.toString('latin1', 0, 4) === 'Exif' ? 6 : 0;
  if (block.length < base + 8) return false;
  const little = block[base] === 0x49;
  const u16 = (at: number) =>
    at + 2 > block.length ? 0 : little ? block.readUInt16LE(at) : block.readUInt16BE(at);
  const u32 = (at: number) =>
    at + 4 > block.length ? 0 : little ? block.readUInt32LE(at) : block.readUInt32BE(at);

  const first = base + u32(base + 4);
  const directories = [first, base + u32(first + 2 + u16(first) * ENTRY_BYTES)];
  const seen = new Set<number>();
  let values = 0;
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    if (directory === base || seen.has(directory)) continue;
    seen.add(directory);
    for (let i = 0, at = directory + 2; i < u16(directory) && at < block.length; i++, at += ENTRY_BYTES) {
      const size = VALUE_BYTES[u16(at + 2)] ?? 0;
      const count = u32(at + 4);
      if (POINTERS.has(u16(at))) directories.push(base + u32(at + 8));
      const available = Math.max(0, block.length - base - u32(at + 8));
      values +=
        1 + (size === 0 ? 0 : size * count <= 4 ? count : Math.min(count, Math.ceil(available / size)));
      if (values > MAX_VALUES) return false;
    }
  }
  return true;
}
