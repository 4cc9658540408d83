/** Returns uniform numbers in [0, 1). */
export type Random = () => number;

/** A source of random numbers that can be stopped and gone on with: its whole state is one unsigned 32-bit number. */
export interface Generator {
  next: Random;
  state: number;
}

/**
 * mulberry32 by Tommy Ettinger: one 32-bit counter, mixed; period 2³², which is far more than one training draws.
 * Chosen because it is reproducible everywhere, not because it is strong.
 */
export function generator(seed: number): Generator {
  const self: Generator = {
    state: seed >>> 0,
    next: () => {
      const state = (self.state + 0x6d2b79f5) >>> 0;
      self.state = state;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
  };
  return self;
}

/** The numbers of `generator`, for those who never stop on the way. */
export const mulberry32 = (seed: number): Random => generator(seed).next;

/** Fisher–Yates, in place. */
export function shuffle(items: Uint32Array, random: Random): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const item = items[last]!;
    items[last] = items[other]!;
    items[other] = item;
  }
}
