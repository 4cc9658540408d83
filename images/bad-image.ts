import { errorText, HubError } from '../errors.ts';
import { BadImage } from './headers/header.ts';

/** An image of several that could not be decoded. */
export interface ImageFailure {
  /** Which of them. */
  index: number;
  /** A word that metrics count by. */
  reason: string;
  detail: string;
}

/** Why an image could not be decoded, as the word that metrics count by and the sentences that people read. */
export function badImage(error: unknown): Omit<ImageFailure, 'index'> {
  const hint = error instanceof HubError && error.hint ? `; ${error.hint}` : '';
  return { reason: error instanceof BadImage ? error.kind : 'damaged', detail: `${errorText(error)}${hint}` };
}
