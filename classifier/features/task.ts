import type { BackboneRef } from './backbone.ts';

/** Stored images that are to get features, as a thread gets them. */
export interface FeatureTask {
  backbone: BackboneRef;
  maxPixels: number;
  /** COPY's binary format, see `SOURCE_COLUMNS` in sql/features.ts. */
  rows: Uint8Array<ArrayBuffer>;
  /** The only one of the rows that is wanted; undefined: all. */
  only?: number | undefined;
}

/** Features of some images, ready to be written. */
export interface EncodedFeatures {
  /** COPY's binary format, see `writeFeatureRow` in sql/features.ts. */
  rows: Uint8Array<ArrayBuffer>;
  images: number;
  /** Of them without features. */
  failed: number;
}
