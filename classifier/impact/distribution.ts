/** Values are counted to this: quantiles are as exact, however many values there are. */
const STEP = 1e-4;
const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95] as const;
const HISTOGRAM_BINS = 20;

export interface DistributionFigures {
  count: number;
  /** null: there are no values. */
  mean: number | null;
  /** Nearest rank: the smallest value that at least this share of them does not exceed, to 0.0001. */
  quantiles: { share: number; value: number | null }[];
  /** Equal bins over the whole range; the last one holds its upper end too. */
  histogram: { from: number; to: number; count: number }[];
}

/** How values between two limits are distributed, in memory that does not grow with them. */
export class Distribution {
  readonly #from: number;
  readonly #to: number;
  readonly #counts: Float64Array;
  readonly #bins = new Float64Array(HISTOGRAM_BINS);
  #count = 0;
  #sum = 0;

  constructor(from: number, to: number) {
    this.#from = from;
    this.#to = to;
    this.#counts = new Float64Array(Math.round((to - from) / STEP) + 1);
  }

  add(value: number): void {
    const clipped = Math.min(this.#to, Math.max(this.#from, value));
    this.#count++;
    this.#sum += value;
    this.#counts[Math.round((clipped - this.#from) / STEP)]!++;
    const share = (clipped - this.#from) / (this.#to - this.#from);
    this.#bins[Math.min(HISTOGRAM_BINS - 1, Math.floor(share * HISTOGRAM_BINS))]!++;
  }

  figures(): DistributionFigures {
    const width = (this.#to - this.#from) / HISTOGRAM_BINS;
    const edge = (bin: number) => round(this.#from + bin * width);
    return {
      count: this.#count,
      mean: this.#count === 0 ? null : this.#sum / this.#count,
      quantiles: QUANTILES.map((share) => ({ share, value: this.#quantile(share) })),
      histogram: Array.from(this.#bins, (count, bin) => ({ from: edge(bin), to: edge(bin + 1), count })),
    };
  }

  #quantile(share: number): number | null {
    if (this.#count === 0) return null;
    const rank = Math.ceil(share * this.#count);
    let seen = 0;
    const place = this.#counts.findIndex((count) => (seen += count) >= rank);
    return round(this.#from + place * STEP);
  }
}

/** Without the last digits that binary fractions bring. */
const round = (value: number): number =>
  Math.round(value / STEP) * STEP === 0 ? 0 : Number(value.toFixed(4));
