/** Bits of the counter behind the microseconds (`src/kudu/clock/hybrid_clock.h`). */
const COUNTER_BITS = 12n;

/** The moment as Kudu's servers count: microseconds since 1970, and 12 bits of a counter (0). For `ScanOptions.snapshot`. */
export const hybridTime = (moment: Date): bigint => (BigInt(moment.getTime()) * 1000n) << COUNTER_BITS;

/** The moment of a hybrid time, down to the millisecond. */
export const dateOfHybridTime = (time: bigint): Date => new Date(Number((time >> COUNTER_BITS) / 1000n));
