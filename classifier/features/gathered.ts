import { HubError } from '../../errors.ts';
import type { Output } from '../network.ts';

/** Features of some images, by their place among them. */
export class GatheredFeatures {
  /** Numbers per image. */
  readonly features: number;
  /** [images, features]; zeros where there are none. */
  readonly vectors: Float32Array;
  /** Why an image has none. */
  readonly errors = new Map<number, HubError>();

  constructor(images: number, features: number) {
    this.features = features;
    this.vectors = new Float32Array(images * features);
  }

  /** @param output a row of numbers for each of the places, and maybe more rows */
  add(output: Output, places: number[]): void {
    const { features } = this;
    places.forEach((place, row) => {
      const vector = output.subarray(row * features, (row + 1) * features);
      if (vector.every(Number.isFinite)) this.vectors.set(vector, place * features);
      else this.fail(place, new HubError('BAD_MODEL', 'The backbone’s features are not finite numbers.'));
    });
  }

  fail(place: number, error: HubError): void {
    this.errors.set(place, error);
  }

  /** A view. */
  vector(place: number): Float32Array {
    return this.vectors.subarray(place * this.features, (place + 1) * this.features);
  }
}
