import { DEATHS, type IsolatedEnd } from '../classifier/isolated/process.ts';

/** Of whom can be done without most easily first. */
export type Suspect = 'backbone' | 'shadow' | 'model';

/**
 * Finds out, while images are done one by one in child processes, whether a child ended by a model or by the image: the
 * image is tried again without the backbone, then without the shadow, then without the live model too. What it cannot get
 * through with is left out from there on.
 */
export class ModelSuspicion {
  /** In the order in which they are suspected. */
  readonly #suspects: Suspect[];
  readonly #accused = new Map<Suspect, string>();
  readonly #onTrial = new Map<Suspect, string>();
  #deaths = 0;

  constructor(suspects: Suspect[]) {
    this.#suspects = suspects;
  }

  /** Those that are to blame, with the reason. */
  get accused(): ReadonlyMap<Suspect, string> {
    return this.#accused;
  }

  /** Those that the image in hand is tried without, with the reason. */
  get onTrial(): ReadonlyMap<Suspect, string> {
    return this.#onTrial;
  }

  /** A child ended, or was given up. @returns whether the image is to be tried again; false: it is to blame */
  suspects({ died, why }: IsolatedEnd): boolean {
    if (died && ++this.#deaths < DEATHS) return true;
    this.#deaths = 0;
    const next = this.#suspects.find((one) => !this.#accused.has(one) && !this.#onTrial.has(one));
    if (next) this.#onTrial.set(next, `An image got through only without this model. With it: ${why}`);
    else this.#onTrial.clear();
    return next !== undefined;
  }

  /** The image got through: of those on trial, the last one was at fault. */
  passed(): void {
    this.#deaths = 0;
    const last = [...this.#onTrial].at(-1);
    if (last) this.#accused.set(...last);
    this.#onTrial.clear();
  }
}
