import sharp from 'sharp';

/** A JPEG of two megabytes that takes two seconds, and 768 MB, to decode. */
export const slowImage = (): Promise<Buffer> =>
  sharp({ create: { width: 16_000, height: 16_000, channels: 3, background: 'teal' } })
    .jpeg()
    .toBuffer();
