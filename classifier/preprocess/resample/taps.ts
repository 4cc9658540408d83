/** How pixels of the new size are made from those of the old one. */
export const FILTERS = ['bilinear', 'bicubic', 'lanczos', 'area'] as const;
export type Filter = (typeof FILTERS)[number];

/** What the new positions of one axis are made from. */
export interface Taps {
  /** Of each new position, the first old one that counts, and how many do. */
  first: Int32Array;
  count: Int32Array;
  /** How many count for one, at most. */
  most: number;
  /** All that with the weights, as resample.wat reads it: `step` bytes for each new position. */
  bytes: Uint8Array;
  step: number;
}

/** One side of a picture that gets another length, and what of it is wanted. */
export interface Axis {
  from: number;
  to: number;
  /** Of the new positions the first one wanted, and how many are: [0, to) is all. */
  start: number;
  length: number;
}

/** Bits behind the point, as in Pillow: 255 times a weight of almost 2 fits into 32 bits with its sign. resample.wat has it too. */
const PRECISION = 22;
/** Two places before the weights: the first old position, and how many count. Zeros fill the last four of the weights. */
const FRONT = 2;

/** Weight of an old pixel by the distance of its centre, and the distance from which on it is 0. */
interface Kernel {
  reach: number;
  weight: (distance: number) => number;
}

const triangle: Kernel = { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };

/** R. Keys, “Cubic convolution interpolation for digital image processing”, 1981. */
const cubic = (a: number): Kernel => ({
  reach: 2,
  weight(distance) {
    const x = Math.abs(distance);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  },
});

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos: Kernel = { reach: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) };

/**
 * The taps of one axis; positions are pixel centres, weights sum to 1.
 *
 * Antialiased: when shrinking, the kernel is stretched over the new pixel, so that every old one counts, and what lies
 * beside the picture does not (Pillow, torchvision's `antialias=True`). Else it always spans its reach of old pixels, and the
 * border is repeated beside the picture (OpenCV, `antialias=False`; their bicubic has a = −0.75 where the other has −0.5).
 * `area` weighs old pixels by how much of the new one they cover, which is OpenCV's INTER_AREA when shrinking.
 */
export function makeTaps(axis: Axis, filter: Filter, antialias: boolean): Taps {
  if (filter === 'area') return areaTaps(axis);
  const { from, to, start, length } = axis;
  const scale = from / to;
  const kernel =
    filter === 'bilinear' ? triangle : filter === 'lanczos' ? lanczos : cubic(antialias ? -0.5 : -0.75);
  const stretch = antialias ? Math.max(scale, 1) : 1;
  const support = kernel.reach * stretch;
  const taps = new TapsBuilder(from, length, Math.ceil(support) * 2 + 1);
  for (let index = 0; index < length; index++) {
    const centre = (start + index + 0.5) * scale;
    const first = Math.floor(centre - support + 0.5);
    const end = Math.floor(centre + support + 0.5);
    for (let position = first; position < end; position++) {
      if (antialias && (position < 0 || position >= from)) continue;
      taps.add(index, position, kernel.weight((position + 0.5 - centre) / stretch));
    }
  }
  return taps.build();
}

function areaTaps({ from, to, start, length }: Axis): Taps {
  const taps = new TapsBuilder(from, length, Math.ceil(from / to) + 1);
  for (let index = 0; index < length; index++) {
    // From exact integers, so that whole borders are whole.
    const left = ((start + index) * from) / to;
    const right = ((start + index + 1) * from) / to;
    for (let position = Math.floor(left); position < right; position++) {
      taps.add(index, position, Math.min(position + 1, right) - Math.max(position, left));
    }
  }
  return taps.build();
}

class TapsBuilder {
  readonly #from: number;
  readonly #most: number;
  readonly #first: Int32Array;
  readonly #count: Int32Array;
  readonly #weights: Float64Array;

  constructor(from: number, length: number, most: number) {
    this.#from = from;
    this.#most = Math.min(from, most);
    this.#first = new Int32Array(length).fill(-1);
    this.#count = new Int32Array(length);
    this.#weights = new Float64Array(length * this.#most);
  }

  /** In rising order of positions; those beside the picture count as its border. */
  add(index: number, position: number, weight: number): void {
    const inside = Math.min(Math.max(position, 0), this.#from - 1);
    if (this.#first[index] === -1) this.#first[index] = inside;
    const place = inside - this.#first[index]!;
    this.#weights[index * this.#most + place]! += weight;
    this.#count[index] = place + 1;
  }

  build(): Taps {
    const first = this.#first;
    const count = this.#count;
    const most = this.#most;
    const places = FRONT + 4 * Math.ceil(most / 4);
    const table = new Int32Array(first.length * places);
    for (let index = 0; index < first.length; index++) {
      const at = index * places;
      table[at] = first[index]!;
      table[at + 1] = count[index]!;
      const own = this.#weights.subarray(index * most, index * most + count[index]!);
      const total = own.reduce((sum, weight) => sum + weight, 0);
      own.forEach((weight, k) => {
        const fixed = (weight / total) * 2 ** PRECISION;
        table[at + FRONT + k] = Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
      });
    }
    return { first, count, most, bytes: new Uint8Array(table.buffer), step: 4 * places };
  }
}
