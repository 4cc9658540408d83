import { errorText, HubError } from '../errors.ts';
import type { Queryable } from '../sql/database.ts';
import { loadModelRef, type ModelRef } from './model-ref.ts';

/** The model that predicts beside the live one; it may be broken, which is written down for every image and harms none. */
export interface ShadowRef {
  id: number;
  /** null: it cannot be used, see `error`. */
  model: ModelRef | null;
  /** Why it cannot; null: it can. */
  error: string | null;
}

/** Reads the shadow; one that cannot be read is a broken one. @throws what the database throws when it is away */
export async function loadShadowRef(db: Queryable, id: number): Promise<ShadowRef> {
  try {
    return { id, model: await loadModelRef(db, id), error: null };
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    return brokenShadow(id, errorText(error));
  }
}

export const brokenShadow = (id: number, error: string): ShadowRef => ({ id, model: null, error });
