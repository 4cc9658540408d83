import type { ModelRef } from '../classifier/model-ref.ts';
import { brokenShadow, type ShadowRef } from '../classifier/shadow-ref.ts';

/** So long a model that ended a process, or hung in it, is not tried again. */
const LEFT_OUT_MS = 10 * 60_000;

/** A model that is to blame for the end of a process, with the reason. */
export interface Accused {
  id: number;
  error: string;
}

/**
 * Keeps models (or backbones) from harming the ingest: one that ended the process it ran in is left out for a while. For a
 * shadow the reason is written down for every image instead; what a live model would have said is left to the backlog,
 * where it can do no harm. Also remembers whose failure was logged.
 */
export class ModelGuard {
  readonly #accused = new Map<number, { error: string; until: number }>();
  readonly #logged = new Set<number>();

  /** The live model, or none in its place. */
  admit(model: ModelRef | null): ModelRef | null {
    return model && this.errorOf(model.id) === null ? model : null;
  }

  /** The shadow, or a broken one in its place. */
  admitShadow(shadow: ShadowRef | null): ShadowRef | null {
    const error = shadow && this.errorOf(shadow.id);
    return error === null ? shadow : brokenShadow(shadow!.id, error);
  }

  /** An image got through without the model on which a process ended with it. */
  accuse({ id, error }: Accused): void {
    this.#accused.set(id, { error, until: Date.now() + LEFT_OUT_MS });
  }

  /** Whether no failure of this model was logged yet. */
  firstFailure(model: number): boolean {
    const first = !this.#logged.has(model);
    this.#logged.add(model);
    return first;
  }

  /** Why a model is left out; null: it is not. */
  errorOf(id: number): string | null {
    const accused = this.#accused.get(id);
    if (accused && Date.now() < accused.until) return accused.error;
    this.#accused.delete(id);
    return null;
  }
}
