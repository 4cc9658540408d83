import { describe as group, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HubError } from '../../errors.ts';
import { describe } from '../../images/metadata.ts';
import { repairChecksums } from '../support/png-writer.ts';
import { sampleImages } from '../support/sample-images.ts';

const OPTIONS = { maxPixels: 200_000, pgmMaxSide: 64, background: 255, measure: true };
const SAMPLES = await sampleImages(16, 12);
/** Longest time for one small image, generous on a busy machine. */
const HANG_MS = 5000;

/** Any bytes are either an image, described sensibly, or a BAD_IMAGE error that Postgres can store. */
async function survives(bytes: Uint8Array): Promise<void> {
  const started = performance.now();
  try {
    const { pixels, measures } = await describe(bytes, OPTIONS);
    const { width, height, channels } = pixels;
    expect(pixels.data).toHaveLength(width * height * channels);
    expect(width * height).toBeLessThanOrEqual(OPTIONS.maxPixels);
    expect(Object.values(measures!.statistics).every(Number.isFinite)).toBe(true);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    expect(error.code).toBe('BAD_IMAGE');
    expect(error.message).not.toContain('\0');
  }
  expect(performance.now() - started).toBeLessThan(HANG_MS);
}

group('whatever the bytes are, describing them ends with an image or a BAD_IMAGE error', () => {
  test('random bytes', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: 500 });
  });

  test.each(SAMPLES)('random bytes behind the beginning of a $name', async ({ bytes }) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(60), fc.uint8Array({ maxLength: 200 }), (start, rest) =>
        survives(Buffer.concat([bytes.subarray(0, start), rest])),
      ),
      { numRuns: 100 },
    );
  });

  test.each(SAMPLES)('a $name with damaged bytes', async ({ format, bytes }) => {
    // half of the damage in the first 64 bytes, where the sizes are
    const place = fc.oneof(fc.nat(Math.min(64, bytes.length - 1)), fc.nat(bytes.length - 1));
    const damage = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(damage, fc.boolean(), (changes, repaired) => {
        const damaged = Buffer.from(bytes);
        for (const [at, value] of changes) damaged[at] = value;
        if (format === 'png' && repaired) repairChecksums(damaged);
        return survives(damaged);
      }),
      { numRuns: 150 },
    );
  });
});
