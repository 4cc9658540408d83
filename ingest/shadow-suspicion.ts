import { brokenShadow, type ShadowRef } from '../classifier/shadow-ref.ts';

/** With one image, until its shadow is left out. */
const DEATHS = 2;

/**
 * Finds out, while images are done one by one in child processes, whether a child ended by its shadow or by the image:
 * the image is tried again without the shadow. If it gets through, the shadow is left out from there on.
 */
export class ShadowSuspicion {
  readonly #given: ShadowRef | null;
  #leftOut: ShadowRef | null = null;
  #accused: ShadowRef | null = null;
  #deaths = 0;

  constructor(shadow: ShadowRef | null) {
    this.#given = shadow;
  }

  /** With which the next child is to run. */
  get shadow(): ShadowRef | null {
    return this.#leftOut ?? this.#given;
  }

  /** Set once it is clear that it was the shadow; the reason is its error. */
  get accused(): ShadowRef | null {
    return this.#accused;
  }

  /**
   * A child ended, or was given up.
   * @param end `died`: not by us, which once may have been somebody else's doing
   * @returns whether the image is to be tried again, with `shadow`; false: there was none in that child
   */
  suspects({ died, why }: { died: boolean; why: string }): boolean {
    if (!this.#given?.model || this.#leftOut) return false;
    if (died && ++this.#deaths < DEATHS) return true;
    this.#leftOut = brokenShadow(
      this.#given.id,
      `An image got through only without this model. With it: ${why}`,
    );
    return true;
  }

  /** The image got through. */
  passed(): void {
    this.#deaths = 0;
    this.#accused ??= this.#leftOut;
  }

  /** The image did not get through without the shadow either. */
  acquit(): void {
    this.#deaths = 0;
    if (!this.#accused) this.#leftOut = null;
  }
}
