import { readFileSync } from 'node:fs';

/** As much of it as is used here: TypeScript has its types only beside those of browsers. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: unknown };
};

/** What resample.wat exports; addresses are bytes in its memory, `taps` and `step` as there. */
interface Kernels {
  memory: { buffer: ArrayBuffer; grow(pages: number): number };
  narrowColours(row: number, to: number, taps: number, step: number, length: number): void;
  narrowGreys(row: number, to: number, taps: number, step: number, length: number): void;
  addRows(
    ring: number,
    rows: number,
    stride: number,
    slot: number,
    taps: number,
    to: number,
    bytes: number,
  ): void;
}

/** `npm run wasm` makes it from resample.wat. */
const FILE = new URL('./resample.wasm', import.meta.url);
const PAGE_BYTES = 64 * 1024;
/** Of a vector: what lies in memory begins at a multiple of it, and has as much to spare at its end. */
const VECTOR_BYTES = 16;

const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(FILE)));
export const kernels = instance.exports as Kernels;

/** Bytes that something so long takes of the kernels' memory. */
export const withSpare = (bytes: number): number => (Math.ceil(bytes / VECTOR_BYTES) + 1) * VECTOR_BYTES;

/**
 * The kernels' memory, with room for things of so many bytes, and where each begins. It never shrinks, but pictures pass
 * through it by rows, so that it stays small.
 * @throws RangeError beyond 4 GiB
 */
export function kernelMemory(lengths: number[]): { memory: Uint8Array<ArrayBuffer>; places: number[] } {
  let end = 0;
  const places = lengths.map((length) => {
    const at = end;
    end += withSpare(length);
    return at;
  });
  const { memory } = kernels;
  const missing = end - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
  return { memory: new Uint8Array(memory.buffer), places };
}
