import type { Pixels } from './decode.ts';

/** Most colours that a picture is said to have. */
const MOST_COLOURS = 5;
/** What fewer pixels have is no colour of the picture. */
const LEAST_SHARE = 0.05;
/** A picture of a hundred colours has none that counts: the search ends. */
const MOST_TRIES = MOST_COLOURS + 1;
/** Lines each way of the grid whose crossings are looked at; small pictures come in great numbers, and get the fewest. */
const FEWEST_LINES = 12;
const MOST_LINES = 32;
const PIXELS_PER_LINE = 4;
/** More transparent than not: its colour is not seen. */
const VISIBLE_ALPHA = 128;

const BIN_BITS = 4;
const LEVELS = 1 << BIN_BITS;
const VALUES_PER_LEVEL = 256 / LEVELS;
const LEVEL_MASK = LEVELS - 1;
const RED_SHIFT = 2 * BIN_BITS;
/** One step in each channel, as bins are numbered. */
const GREY_STEP = (1 << RED_SHIFT) | (1 << BIN_BITS) | 1;

/**
 * Where in the arrays below each bin stands, plus 1; 0: it is empty. Every call leaves it all empty, as clearing it would cost
 * more than the picture's few bins do.
 */
const places = new Uint16Array(LEVELS ** 3);
/** Of the bins that are not empty: which, and how many pixels with which sums. */
const bins = new Uint16Array(MOST_LINES ** 2);
const counts = new Uint32Array(MOST_LINES ** 2);
const reds = new Uint32Array(MOST_LINES ** 2);
const greens = new Uint32Array(MOST_LINES ** 2);
const blues = new Uint32Array(MOST_LINES ** 2);

const HEX = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, '0'));
const GREYS = HEX.map((hex) => `#${hex}${hex}${hex}`);

/**
 * The main colours of a picture as `#rrggbb` (sRGB), the commonest first: up to five, each of at least 5 % of the pixels.
 * Null if nothing of it is visible (alpha), or it has no such colour.
 *
 * The pixels of a grid, 12 × 12 to 32 × 32, are counted in bins of 4 bits a channel. The fullest bin takes its neighbours (those
 * at most one step off in every channel) and becomes a colour, their mean; then the fullest of the rest, and so on. Always
 * the same for the same pixels.
 */
export function dominantColours(pixels: Pixels): string[] | null {
  const used = countPixels(pixels);
  let total = 0;
  for (let i = 0; i < used; i++) total += counts[i]!;
  return takeColours(used, total);
}

/**
 * The same of a grey picture, from how many pixels have each value.
 * @param pixels how many there are; at most 16 million, or sums overflow
 */
export function dominantGreys(histogram: Uint32Array, pixels: number): string[] | null {
  let used = 0;
  for (let level = 0; level < LEVELS; level++) {
    const lowest = level * VALUES_PER_LEVEL;
    let count = 0;
    let sum = 0;
    for (let value = lowest; value < lowest + VALUES_PER_LEVEL; value++) {
      count += histogram[value]!;
      sum += value * histogram[value]!;
    }
    if (count === 0) continue;
    bins[used] = level * GREY_STEP;
    counts[used] = count;
    reds[used] = greens[used] = blues[used] = sum;
    used++;
  }
  return takeColours(used, pixels);
}

/** @returns how many bins are used */
function countPixels({ width, height, channels, data }: Pixels): number {
  const columns = gridLines(width);
  const rows = gridLines(height);
  const green = channels < 3 ? 0 : 1;
  const blue = channels < 3 ? 0 : 2;
  const alpha = channels === 2 || channels === 4 ? channels - 1 : -1;
  let used = 0;
  for (let row = 0; row < rows; row++) {
    // In the middle of its field of the grid.
    const line = Math.floor(((row + 0.5) * height) / rows) * width;
    for (let column = 0; column < columns; column++) {
      const at = (line + Math.floor(((column + 0.5) * width) / columns)) * channels;
      if (alpha > 0 && data[at + alpha]! < VISIBLE_ALPHA) continue;
      const r = data[at]!;
      const g = data[at + green]!;
      const b = data[at + blue]!;
      const bin = ((r >> BIN_BITS) << RED_SHIFT) | ((g >> BIN_BITS) << BIN_BITS) | (b >> BIN_BITS);
      let place = places[bin]! - 1;
      if (place < 0) {
        place = used++;
        places[bin] = used;
        bins[place] = bin;
        counts[place] = reds[place] = greens[place] = blues[place] = 0;
      }
      counts[place]!++;
      reds[place]! += r;
      greens[place]! += g;
      blues[place]! += b;
    }
  }
  for (let i = 0; i < used; i++) places[bins[i]!] = 0;
  return used;
}

const gridLines = (side: number): number =>
  Math.min(side, MOST_LINES, Math.max(FEWEST_LINES, Math.floor(side / PIXELS_PER_LINE)));

/** Makes colours out of the bins, in which so many pixels are. */
function takeColours(used: number, total: number): string[] | null {
  const least = total * LEAST_SHARE;
  const colours: string[] = [];
  const sizes: number[] = [];
  let left = used;
  let pixelsLeft = total;
  let fullest = fullestBin(used);
  for (let tries = 0; tries < MOST_TRIES && pixelsLeft >= least && left > 0; tries++) {
    let count = 0;
    let red = 0;
    let green = 0;
    let blue = 0;
    // What is not taken moves together, and the fullest of it is next; of equally full ones the first.
    let kept = 0;
    let next = 0;
    let most = 0;
    for (let i = 0; i < left; i++) {
      const bin = bins[i]!;
      const pixels = counts[i]!;
      if (areNeighbours(bin, fullest)) {
        count += pixels;
        red += reds[i]!;
        green += greens[i]!;
        blue += blues[i]!;
        continue;
      }
      if (pixels > most) {
        most = pixels;
        next = bin;
      }
      bins[kept] = bin;
      counts[kept] = pixels;
      reds[kept] = reds[i]!;
      greens[kept] = greens[i]!;
      blues[kept] = blues[i]!;
      kept++;
    }
    left = kept;
    pixelsLeft -= count;
    fullest = next;
    if (count < least) continue;
    // The first may turn out smaller than a later one whose pixels lie in more bins.
    let place = sizes.length;
    while (place > 0 && sizes[place - 1]! < count) place--;
    sizes.splice(place, 0, count);
    colours.splice(place, 0, colour(red / count, green / count, blue / count));
  }
  return colours.length > 0 ? colours.slice(0, MOST_COLOURS) : null;
}

/** The first of equally full ones. */
function fullestBin(used: number): number {
  let fullest = 0;
  for (let i = 1; i < used; i++) if (counts[i]! > counts[fullest]!) fullest = i;
  return bins[fullest]!;
}

const areNeighbours = (a: number, b: number): boolean =>
  Math.abs((a >> RED_SHIFT) - (b >> RED_SHIFT)) <= 1 &&
  Math.abs(((a >> BIN_BITS) & LEVEL_MASK) - ((b >> BIN_BITS) & LEVEL_MASK)) <= 1 &&
  Math.abs((a & LEVEL_MASK) - (b & LEVEL_MASK)) <= 1;

function colour(red: number, green: number, blue: number): string {
  const r = Math.round(red);
  const g = Math.round(green);
  const b = Math.round(blue);
  return r === g && g === b ? GREYS[r]! : `#${HEX[r]!}${HEX[g]!}${HEX[b]!}`;
}
