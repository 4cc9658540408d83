import { HubError } from '../../errors.ts';

/** Formats that can be decoded; `pbm`, `pgm`, `ppm` are the netpbm kinds P1/P4, P2/P5, P3/P6. */
export type ImageFormat = 'png' | 'jpeg' | 'webp' | 'gif' | 'tiff' | 'avif' | 'bmp' | 'pbm' | 'pgm' | 'ppm';

/** What the header of an image file says, before anything is decoded. */
export interface ImageHeader {
  format: ImageFormat;
  /** Pixels as stored, before EXIF orientation; AVIF: the largest of the file's images. */
  width: number;
  height: number;
  /** Bits per sample in the file; null where the header does not say (AVIF). */
  bitDepth: number | null;
  /**
   * The raw EXIF block (starting with `Exif\0\0` or a TIFF header), a view into the file's bytes;
   * null: none; undefined: there may be one that only the decoder can find (AVIF).
   */
  exif: Uint8Array | null | undefined;
  /** True if the file's own structure shows that bytes are missing at its end. */
  truncated: boolean;
  /** JPEG: colour components (1 grey, 3 YCbCr or RGB, 4 CMYK); TIFF: 4 if it is CMYK. */
  components?: number;
  /**
   * The stretches of the file with colour profiles, of which there should be one at most. PNG: whole chunks; JPEG: parts of
   * one, each behind its number and how many there are; the others: the profile itself. See colour-profile/embedded.ts.
   */
  profiles?: [from: number, to: number][];
  /** GIF: the first image, as far as there is one: its pixels, and where their compressed data begin. */
  firstImage?: { pixels: number; dataAt: number };
}

/**
 * Reads one format's header: null if the bytes are not of that format. A file cut inside the header throws BAD_IMAGE;
 * one cut later is reported by `truncated`, so that its size can be judged first.
 */
export type HeaderReader = (bytes: Buffer) => ImageHeader | null;

/** What is wrong with an image, as a word to count by. */
export type BadImageKind =
  'empty' | 'not-an-image' | 'unsupported' | 'too-large' | 'truncated' | 'damaged' | 'location-not-removed';

/** An image that nobody can decode. */
export class BadImage extends HubError {
  readonly kind: BadImageKind;

  constructor(kind: BadImageKind, reason: string, options: { hint?: string; cause?: unknown }) {
    super('BAD_IMAGE', reason, options);
    this.kind = kind;
  }
}

/** An image that nobody can decode, with the reason; goes to the dead letters. */
export function badImage(
  reason: string,
  { kind = 'damaged', ...options }: { kind?: BadImageKind; hint?: string; cause?: unknown } = {},
): BadImage {
  return new BadImage(kind, reason, options);
}

/** The error of a file that ends before its image does. */
export function truncatedImage(format: string, bytes: Uint8Array): HubError {
  return badImage(`truncated ${format.toUpperCase()}: the file ends after ${bytes.length} bytes`, {
    kind: 'truncated',
    hint: 'The sender wrote or read only a part of the file: send it again.',
  });
}
