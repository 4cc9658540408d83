import { Tensor } from 'onnxruntime-node';
import { errorText } from '../errors.ts';
import { GraphBuilder } from './onnx/builder.ts';
import { type Device, openSession } from './session.ts';

let cuda: Promise<string | null> | undefined;

/** Why onnxruntime cannot compute on a GPU here, found out once by trying; null: it can. */
export function cudaProblem(): Promise<string | null> {
  return (cuda ??= tryCuda());
}

/** Of the devices asked for, those that onnxruntime can really use; `problem` says what is wrong with the others. */
export async function usableDevices<D extends Device>(
  asked: readonly D[],
): Promise<{ devices: D[]; problem: string | null }> {
  const problem = asked.some((device) => device === 'cuda') ? await cudaProblem() : null;
  return { devices: asked.filter((device) => device !== 'cuda' || problem === null), problem };
}

/** Multiplies a matrix by itself there. */
async function tryCuda(): Promise<string | null> {
  const graph = new GraphBuilder('probe');
  graph.input('x', 'float32', [2, 2]);
  graph.output(graph.op('Gemm', ['x', 'x'], {}, 'y'), 'float32', [2, 2]);
  try {
    const session = await openSession(graph.encode(), 1, 'cuda');
    await session.run({ x: new Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2]) });
    await session.release();
    return null;
  } catch (error) {
    return errorText(error);
  }
}
