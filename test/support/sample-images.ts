import { Transformer } from '@napi-rs/image';
import sharp from 'sharp';

/** A coloured picture with soft and hard edges: width × height × 3 samples. */
export function samplePixels(width: number, height: number): Buffer {
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const disc = (x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2;
      data[at++] = Math.round((255 * x) / width);
      data[at++] = Math.round((255 * y) / height);
      data[at++] = disc ? 230 : 40;
    }
  }
  return data;
}

export interface SampleImage {
  name: string;
  format: string;
  bytes: Buffer;
  /** Largest difference of a sample to the original that the format's compression causes. */
  loss: number;
}

/** The same RGB picture, encoded in every format we decode, in the variants that decoders treat differently. */
export async function sampleImages(width: number, height: number): Promise<SampleImage[]> {
  const data = samplePixels(width, height);
  const image = () => sharp(data, { raw: { width, height, channels: 3 } });
  const png = await image().png().toBuffer();
  const native = () => new Transformer(png);
  const encoded: [string, string, number, Buffer | Promise<Buffer>][] = [
    ['PNG', 'png', 0, png],
    ['interlaced PNG', 'png', 0, image().png({ progressive: true }).toBuffer()],
    ['JPEG', 'jpeg', 40, image().jpeg({ quality: 95, chromaSubsampling: '4:4:4' }).toBuffer()],
    [
      'progressive JPEG',
      'jpeg',
      40,
      image().jpeg({ quality: 95, progressive: true, chromaSubsampling: '4:4:4' }).toBuffer(),
    ],
    ['lossy WebP', 'webp', 120, image().webp({ quality: 95 }).toBuffer()],
    ['lossless WebP', 'webp', 0, image().webp({ lossless: true }).toBuffer()],
    ['GIF', 'gif', 60, image().gif().toBuffer()],
    ['uncompressed TIFF', 'tiff', 0, image().tiff({ compression: 'none' }).toBuffer()],
    ['LZW TIFF', 'tiff', 0, image().tiff({ compression: 'lzw' }).toBuffer()],
    ['tiled TIFF', 'tiff', 0, image().tiff({ compression: 'deflate', tile: true }).toBuffer()],
    ['JPEG in TIFF', 'tiff', 120, image().tiff({ compression: 'jpeg', quality: 95 }).toBuffer()],
    ['TIFF with its directory at the end', 'tiff', 0, native().tiffSync()],
    ['AVIF', 'avif', 60, image().avif({ quality: 90, chromaSubsampling: '4:4:4' }).toBuffer()],
    ['BMP', 'bmp', 0, native().bmpSync()],
    ['PPM', 'ppm', 0, Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), data])],
  ];
  return Promise.all(
    encoded.map(async ([name, format, loss, bytes]) => ({ name, format, loss, bytes: await bytes })),
  );
}
