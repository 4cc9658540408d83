import type { Grey } from './grey.ts';

/**
 * Makes an image smaller, to width × height, by area averaging: every new pixel is the mean of the area it covers,
 * pixels on its border counted in proportion, rounded half up. Sides are never enlarged: a larger target is an error.
 */
export function reduceTo(image: Grey, width: number, height: number): Grey {
  if (width > image.width || height > image.height || width < 1 || height < 1) {
    throw new RangeError(`cannot reduce ${image.width} × ${image.height} to ${width} × ${height}`);
  }
  if (width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height);
  const columns = spans(image.width, width);
  const rows = spans(image.height, height);
  const area = (image.width / width) * (image.height / height);
  const sums = new Float64Array(image.width);
  for (let y = 0; y < height; y++) {
    sumRows(image, rows, y, sums);
    for (let x = 0; x < width; x++) {
      const { first, last, firstShare, lastShare } = span(columns, x);
      let sum = firstShare * sums[first]!;
      for (let i = first + 1; i < last; i++) sum += sums[i]!;
      if (last > first) sum += lastShare * sums[last]!;
      data[y * width + x] = Math.min(255, Math.round(sum / area));
    }
  }
  return { width, height, data };
}

/** Adds up the source rows that new row y covers, column by column, border rows in proportion. */
function sumRows(image: Grey, rows: Float64Array, y: number, sums: Float64Array): void {
  const { first, last, firstShare, lastShare } = span(rows, y);
  sums.fill(0);
  for (let row = first; row <= last; row++) {
    const share = row === first ? firstShare : row === last ? lastShare : 1;
    const at = row * image.width;
    for (let x = 0; x < image.width; x++) sums[x]! += share * image.data[at + x]!;
  }
}

/** For each of `to` pixels the first and the last of `from` pixels it covers, and how much of those two: 4 numbers. */
function spans(from: number, to: number): Float64Array {
  const result = new Float64Array(4 * to);
  for (let i = 0; i < to; i++) {
    // i · from / to from exact integers, so that whole numbers come out whole
    const start = (i * from) / to;
    const end = ((i + 1) * from) / to;
    const first = Math.floor(start);
    const last = Math.ceil(end) - 1;
    result.set([first, last, Math.min(first + 1, end) - start, end - last], 4 * i);
  }
  return result;
}

const span = (all: Float64Array, i: number) => ({
  first: all[4 * i]!,
  last: all[4 * i + 1]!,
  firstShare: all[4 * i + 2]!,
  lastShare: all[4 * i + 3]!,
});
