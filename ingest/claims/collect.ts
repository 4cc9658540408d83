import { Refused } from './aim.ts';

/**
 * All bytes of a stream. @param announced how many there will be, as far as anyone said; a stream may hold others.
 * @throws Refused: none, or more than the limit.
 */
export async function collect(
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  announced: number,
  limit: number,
): Promise<Buffer> {
  const tooMany = () =>
    new Refused(
      'too-many-bytes',
      `It has more than the ${limit.toLocaleString('en')} bytes of IMAGEHUB_IMAGE_URL_BYTES.`,
    );
  if (announced > limit) throw tooMany();
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream) {
    length += part.length;
    if (length > limit) throw tooMany();
    parts.push(part);
  }
  if (length === 0) throw new Refused('empty-image', 'There is nothing in it.');
  return parts.length === 1
    ? Buffer.from(parts[0]!.buffer, parts[0]!.byteOffset, length)
    : Buffer.concat(parts);
}
