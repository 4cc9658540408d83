import type { Omissions, SourceImage } from '../../ingest/senders/image.ts';

/** What a source left out, as `name: reason`. */
export function recordOmissions(): Omissions & { skipped: string[]; refused: string[] } {
  const skipped: string[] = [];
  const refused: string[] = [];
  return {
    skipped,
    refused,
    skip: (name, reason) => void skipped.push(`${name}: ${reason}`),
    refuse: (name, reason) => void refused.push(`${name}: ${reason}`),
  };
}

/** Everything a source gives. */
export async function collect(images: AsyncIterable<SourceImage>): Promise<SourceImage[]> {
  const all: SourceImage[] = [];
  for await (const image of images) all.push(image);
  return all;
}

export const NEVER = new AbortController().signal;
