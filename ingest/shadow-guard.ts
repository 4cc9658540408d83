import { brokenShadow, type ShadowRef } from '../classifier/shadow-ref.ts';

/** So long a model that ended a process, or hung in it, is not tried again. */
const LEFT_OUT_MS = 10 * 60_000;

/**
 * Keeps a shadow from harming the ingest: one that ended the process it ran in is left out for a while, and the reason is
 * written down for every image instead. Also remembers whose failure was logged.
 */
export class ShadowGuard {
  readonly #accused = new Map<number, { error: string; until: number }>();
  readonly #logged = new Set<number>();

  /** The shadow, or a broken one in its place. */
  admit(shadow: ShadowRef | null): ShadowRef | null {
    const accused = shadow && this.#accused.get(shadow.id);
    if (!accused) return shadow;
    if (Date.now() < accused.until) return brokenShadow(shadow.id, accused.error);
    this.#accused.delete(shadow.id);
    return shadow;
  }

  /** An image got through without the shadow on which a process ended with it. */
  accuse({ id, error }: Pick<ShadowRef, 'id' | 'error'>): void {
    this.#accused.set(id, { error: error ?? 'It ended its process.', until: Date.now() + LEFT_OUT_MS });
  }

  /** Whether no failure of this model was logged yet. */
  firstFailure(model: number): boolean {
    const first = !this.#logged.has(model);
    this.#logged.add(model);
    return first;
  }
}
