import { errorText, HubError } from '../errors.ts';
import { BadImage } from '../images/headers/header.ts';

/** Why an image could not be decoded, as the word that metrics count by and the sentences that people read. */
export function badImage(error: unknown): { reason: string; detail: string } {
  const hint = error instanceof HubError && error.hint ? `; ${error.hint}` : '';
  return { reason: error instanceof BadImage ? error.kind : 'damaged', detail: `${errorText(error)}${hint}` };
}
