/** `npm run test:faults`: the fault tests with all their rounds, minutes long. Else their short form runs. */
export const FULL = process.env.IMAGEHUB_FAULTS === 'full';

/** Of two numbers (rounds, messages, seconds) the one for this run. */
export const rounds = (short: number, full: number): number => (FULL ? full : short);
