import { HubError } from '../errors.ts';

/** A whole number that an option gives. @throws HubError USAGE */
export function wholeNumber(flag: string, text: string, least: number): number {
  const value = /^\d{1,9}$/.test(text.trim()) ? Number(text) : NaN;
  if (value >= least) return value;
  throw new HubError('USAGE', `${flag} ${text} is not a whole number from ${least} on.`);
}
