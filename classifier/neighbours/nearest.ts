import { setImmediate } from 'node:timers/promises';
import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { HubError } from '../../errors.ts';
import { GraphBuilder } from '../onnx/builder.ts';
import { openSession } from '../session.ts';

/** Rows compared with as many others at a time: their similarities take 16 MiB. */
const BLOCK = 2048;

export interface NearestOptions {
  /** Length of a vector. */
  features: number;
  /** How many neighbours count; where there are fewer, all of them do. */
  neighbours: number;
  signal?: AbortSignal | undefined;
  /** Pairs compared since the last call. */
  onPairs?: ((pairs: number) => void) | undefined;
}

/** Finds the nearest neighbours of vectors among themselves, exactly: all pairs are compared. */
export class NearestNeighbours {
  readonly #session: InferenceSession;
  readonly #options: NearestOptions;

  private constructor(session: InferenceSession, options: NearestOptions) {
    this.#session = session;
    this.#options = options;
  }

  static async open(options: NearestOptions): Promise<NearestNeighbours> {
    return new NearestNeighbours(await openSession(similarityGraph(options.features)), options);
  }

  /**
   * @param vectors [N, features], each of length 1 (or 0), so that their dot products are cosine similarities
   * @returns N mean distances (1 − similarity) to the nearest neighbours; NaN for a vector that is alone
   * @throws HubError INTERRUPTED
   */
  async meanDistances(vectors: Float32Array): Promise<Float32Array> {
    const { features, neighbours, signal, onPairs } = this.#options;
    const images = vectors.length / features;
    const best = new BestOfRows(images, Math.min(neighbours, images - 1));
    for (let a = 0; a < images; a += BLOCK) {
      // A similarity is that of both: only blocks from the diagonal on are computed.
      for (let b = a; b < images; b += BLOCK) {
        const [rows, columns] = [a, b].map((from) => Math.min(BLOCK, images - from)) as [number, number];
        const found = await this.#compare(block(vectors, a, rows), block(vectors, b, columns), best.each + 1);
        best.add(a, b, found.rows);
        if (b > a) best.add(b, a, found.columns);
        onPairs?.(b > a ? 2 * rows * columns : rows * columns);
        // The computation keeps its thread; an interrupt is heard between two.
        await setImmediate();
        if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while images were compared.');
      }
    }
    return best.meanDistances();

    function block(from: Float32Array, first: number, count: number): Tensor {
      const data = from.subarray(first * features, (first + count) * features);
      return new Tensor('float32', data, [count, features]);
    }
  }

  async #compare(a: Tensor, b: Tensor, most: number): Promise<{ rows: Candidates; columns: Candidates }> {
    const count = (of: number) => new Tensor('int64', BigInt64Array.of(BigInt(Math.min(most, of))), [1]);
    const [rows, columns] = [a.dims[0]!, b.dims[0]!];
    const out = await this.#session.run({ a, b, inRow: count(columns), inColumn: count(rows) });
    const read = (name: string) => ({
      similarities: out[`${name}Values`]!.data as Float32Array,
      places: out[`${name}Places`]!.data as BigInt64Array,
    });
    return {
      rows: { ...read('row'), each: Math.min(most, columns) },
      columns: { ...read('column'), each: Math.min(most, rows) },
    };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** The most similar of a block, for each row of another: [rows, each]. */
interface Candidates {
  similarities: Float32Array;
  /** Within the block. */
  places: BigInt64Array;
  each: number;
}

/** The highest similarities of each row so far, descending. */
class BestOfRows {
  readonly #rows: number;
  readonly #similarities: Float32Array;
  /** Kept of each row. */
  readonly each: number;

  constructor(rows: number, each: number) {
    this.#rows = rows;
    this.each = each;
    this.#similarities = new Float32Array(rows * each).fill(-Infinity);
  }

  /** @param from the first row; @param among where the block begins that they were compared with */
  add(from: number, among: number, { similarities, places, each }: Candidates): void {
    const rows = similarities.length / each;
    for (let row = 0; row < rows; row++) {
      for (let at = row * each; at < (row + 1) * each; at++) {
        // Nothing is its own neighbour; another image with the very same vector is.
        if (among + Number(places[at]!) !== from + row) this.#insert(from + row, similarities[at]!);
      }
    }
  }

  #insert(row: number, similarity: number): void {
    const first = row * this.each;
    let at = first + this.each - 1;
    if (!(similarity > this.#similarities[at]!)) return;
    for (; at > first && this.#similarities[at - 1]! < similarity; at--) {
      this.#similarities[at] = this.#similarities[at - 1]!;
    }
    this.#similarities[at] = similarity;
  }

  meanDistances(): Float32Array {
    const { each } = this;
    return Float32Array.from({ length: this.#rows }, (_, row) => {
      let sum = 0;
      for (let at = row * each; at < (row + 1) * each; at++) sum += 1 - this.#similarities[at]!;
      return sum / each;
    });
  }
}

/** a [A, features] · bᵀ [features, B]: the largest of each row, [A, inRow], and of each column, [B, inColumn], with their places. */
function similarityGraph(features: number): Uint8Array {
  const graph = new GraphBuilder('neighbours');
  graph.input('a', 'float32', ['A', features]);
  graph.input('b', 'float32', ['B', features]);
  const products = {
    row: graph.op('Gemm', ['a', 'b'], { transB: { int: 1 } }),
    column: '',
  };
  products.column = graph.op('Transpose', [products.row], { perm: { ints: [1, 0] } });
  for (const [name, count, rows] of [
    ['row', 'inRow', 'A'],
    ['column', 'inColumn', 'B'],
  ] as const) {
    graph.input(count, 'int64', [1]);
    const outputs = [`${name}Values`, `${name}Places`] as const;
    graph.opOf('TopK', [products[name], count], { axis: { int: 1 }, sorted: { int: 0 } }, [...outputs]);
    graph.output(outputs[0], 'float32', [rows, 'K']);
    graph.output(outputs[1], 'int64', [rows, 'K']);
  }
  return graph.encode();
}
