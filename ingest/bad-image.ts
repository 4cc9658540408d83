import { errorText } from '../errors.ts';

/** Why an image could not be decoded, as the word that metrics count by and the sentence that people read. */
export function badImage(error: unknown): { reason: string; detail: string } {
  return { reason: 'bad-image', detail: errorText(error) };
}
