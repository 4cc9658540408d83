/** An IDX image file: `count` images of width × height whose pixels all have the value of their index. */
export function idxImages(count: number, width: number, height: number): Buffer {
  const header = Buffer.alloc(16);
  [0x0803, count, height, width].forEach((value, i) => header.writeUInt32BE(value, i * 4));
  const pixels = Buffer.alloc(count * width * height);
  for (let i = 0; i < count; i++) pixels.fill(i, i * width * height, (i + 1) * width * height);
  return Buffer.concat([header, pixels]);
}

/** An IDX label file. */
export function idxLabels(values: number[]): Buffer {
  const header = Buffer.alloc(8);
  [0x0801, values.length].forEach((value, i) => header.writeUInt32BE(value, i * 4));
  return Buffer.concat([header, Buffer.from(values)]);
}
