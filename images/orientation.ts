/** A picture of interleaved samples, rows from the top. */
interface Samples {
  width: number;
  height: number;
  channels: number;
  data: Uint8Array;
}

/**
 * Turns a stored picture into the one people see, by EXIF orientation (tag 0x0112): 1 as it is, 2 mirrored left to
 * right, 3 turned by 180°, 4 mirrored top to bottom, 5 transposed, 6 turned by 90° clockwise, 7 transversed,
 * 8 turned by 90° counter-clockwise. Anything else counts as 1.
 */
export function applyOrientation<T extends Samples>(picture: T, orientation: number): T {
  if (!(orientation >= 2 && orientation <= 8)) return picture;
  const { width, height, channels, data } = picture;
  const swapsSides = orientation >= 5;
  const flipsColumns = [2, 3, 7, 8].includes(orientation); // of the stored picture
  const flipsRows = [3, 4, 6, 7].includes(orientation);
  const [newWidth, newHeight] = swapsSides ? [height, width] : [width, height];
  const turned = new Uint8Array(data.length);
  let to = 0;
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      const [column, row] = swapsSides ? [y, x] : [x, y];
      const from =
        ((flipsRows ? height - 1 - row : row) * width + (flipsColumns ? width - 1 - column : column)) *
        channels;
      for (let c = 0; c < channels; c++) turned[to++] = data[from + c]!;
    }
  }
  return { ...picture, width: newWidth, height: newHeight, data: turned };
}
