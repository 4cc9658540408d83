import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { resample } from '../../../classifier/preprocess/resample/resample.ts';
import { type Axis, FILTERS, makeTaps } from '../../../classifier/preprocess/resample/taps.ts';

const PRECISION = 22;

/** One pass in plain loops: new positions of the axis, from `from` vectors of `width` numbers each. */
function pass(
  vectors: Uint8Array,
  width: number,
  axis: Axis,
  filter: (typeof FILTERS)[number],
  antialias: boolean,
): Uint8Array {
  if (axis.from === axis.to && axis.to === axis.length) return vectors;
  const { bytes, step, first, count } = makeTaps(axis, filter, antialias);
  const weights = new Int32Array(bytes.buffer);
  const result = new Uint8ClampedArray(axis.length * width);
  for (let i = 0; i < axis.length; i++) {
    for (let c = 0; c < width; c++) {
      let sum = 2 ** (PRECISION - 1);
      for (let k = 0; k < count[i]!; k++)
        sum += weights[(i * step) / 4 + 2 + k]! * vectors[(first[i]! + k) * width + c]!;
      result[i * width + c] = sum >> PRECISION;
    }
  }
  return new Uint8Array(result.buffer);
}

/** Rows become columns. */
function transpose(pixels: Uint8Array, rows: number, columns: number, channels: number): Uint8Array {
  const result = new Uint8Array(pixels.length);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++)
      for (let c = 0; c < channels; c++)
        result[(x * rows + y) * channels + c] = pixels[(y * columns + x) * channels + c]!;
  return result;
}

const side = fc.integer({ min: 1, max: 70 });
const axis: fc.Arbitrary<Axis> = fc
  .record({ from: side, to: side })
  .chain(({ from, to }) =>
    fc
      .nat(to - 1)
      .chain((start) =>
        fc.integer({ min: 1, max: to - start }).map((length) => ({ from, to, start, length })),
      ),
  );

test('the vector loops make what plain loops make, whatever the sizes', () => {
  fc.assert(
    fc.property(
      axis,
      axis,
      fc.constantFrom(1 as const, 3 as const),
      fc.constantFrom(...FILTERS),
      fc.boolean(),
      fc.integer(),
      (horizontal, vertical, channels, filter, antialias, seed) => {
        const pixels = Uint8Array.from(
          { length: vertical.from * horizontal.from * channels },
          (_, i) => Math.imul(i + 1, seed | 1) >>> 13,
        );
        const columnsFirst = transpose(pixels, vertical.from, horizontal.from, channels);
        const narrowed = pass(columnsFirst, vertical.from * channels, horizontal, filter, antialias);
        const rowsFirst = transpose(narrowed, horizontal.length, vertical.from, channels);
        const expected = pass(rowsFirst, horizontal.length * channels, vertical, filter, antialias);
        const actual = resample(pixels, channels, horizontal, vertical, { filter, antialias });
        expect(Buffer.compare(actual, expected)).toBe(0);
      },
    ),
    { numRuns: 500 },
  );
});

test('resample.wasm is what its source compiles to', async () => {
  const folder = new URL('../../../classifier/preprocess/resample/', import.meta.url);
  const compiled = join(tmpdir(), `resample-${process.pid}.wasm`);
  const compiler = new URL('../../../node_modules/wabt/bin/wat2wasm', import.meta.url);
  try {
    await promisify(execFile)(process.execPath, [
      compiler.pathname,
      new URL('resample.wat', folder).pathname,
      '--output',
      compiled,
    ]);
    // npm run wasm
    expect((await readFile(new URL('resample.wasm', folder))).equals(await readFile(compiled))).toBe(true);
  } finally {
    await rm(compiled, { force: true });
  }
});
