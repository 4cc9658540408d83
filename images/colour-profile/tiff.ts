const [SHORT, LONG, UNDEFINED] = [3, 4, 7];
const HEADER_BYTES = 8;
const ENTRY_BYTES = 12;
const UNASSOCIATED_ALPHA = 2;
type Entry = [tag: number, type: number, count: number, value: number];

/**
 * Samples of 8 bits and a colour profile as an uncompressed TIFF (TIFF 6.0; the profile is tag 34675, ICC.1:2022 annex B.2):
 * a container that any decoder reads at the price of a copy.
 * @param picture height × width × channels samples, 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA
 */
export function tiffWithProfile(
  { width, height, channels, data }: { width: number; height: number; channels: number; data: Uint8Array },
  icc: Uint8Array,
): Buffer {
  const hasAlpha = channels % 2 === 0;
  const entries = hasAlpha ? 11 : 10;
  const bitsAt = HEADER_BYTES + 2 + entries * ENTRY_BYTES + 4;
  const iccAt = bitsAt + 2 * channels;
  const samplesAt = iccAt + icc.length;
  const directory: Entry[] = [
    [256, LONG, 1, width],
    [257, LONG, 1, height],
    [258, SHORT, channels, channels > 2 ? bitsAt : 0x0008_0008], // bits per sample: up to two fit into the entry
    [259, SHORT, 1, 1], // not compressed
    [262, SHORT, 1, channels > 2 ? 2 : 1], // RGB, or grey whose 0 is black
    [273, LONG, 1, samplesAt],
    [277, SHORT, 1, channels],
    [278, LONG, 1, height], // all rows in one strip
    [279, LONG, 1, data.length],
    ...(hasAlpha ? [[338, SHORT, 1, UNASSOCIATED_ALPHA] satisfies Entry] : []),
    [34675, UNDEFINED, icc.length, iccAt],
  ];
  const tiff = Buffer.alloc(samplesAt + data.length);
  tiff.write('II*\0', 0, 'latin1');
  tiff.writeUInt32LE(HEADER_BYTES, 4);
  tiff.writeUInt16LE(entries, HEADER_BYTES);
  directory.forEach(([tag, type, count, value], i) => {
    const at = HEADER_BYTES + 2 + i * ENTRY_BYTES;
    tiff.writeUInt16LE(tag, at);
    tiff.writeUInt16LE(type, at + 2);
    tiff.writeUInt32LE(count, at + 4);
    tiff.writeUInt32LE(value, at + 8);
  });
  for (let i = 0; i < channels; i++) tiff.writeUInt16LE(8, bitsAt + 2 * i);
  tiff.set(icc, iccAt);
  tiff.set(data, samplesAt);
  return tiff;
}
