import { GraphBuilder } from '../../classifier/onnx/builder.ts';

const PIXELS = 784;
/** ONNX's numbers of types. */
const INT64 = 7;
const FLOAT = 1;

/**
 * A real ONNX model (784 grey values `x`, 10 probabilities `p`, for LINEAR_MANIFEST) that says 0.1 of every class, unless the first
 * pixel of one of the images is white: then it divides the least whole number by −1, which ends the process with SIGFPE (on x64).
 */
export function crashingModel(): Uint8Array {
  const g = new GraphBuilder('crashing');
  const x = g.input('x', 'float32', ['batch', PIXELS]);
  const weights = Float32Array.from({ length: PIXELS * 10 }, (_, index) => (index < 10 ? 1 / 255 : 0));
  const first = g.op('MatMul', [x, g.tensor('weights', [PIXELS, 10], weights)]);
  // 1 where the first pixel is black, -1 where it is white.
  const twice = g.op('Mul', [first, g.tensor('two', [], Float32Array.of(2))]);
  const sign = g.op('Cast', [g.op('Sub', [g.tensor('one', [], Float32Array.of(1)), twice])], {
    to: { int: INT64 },
  });
  const least = g.tensor('least', [], BigInt64Array.of(-(2n ** 63n)));
  const same = g.op('Cast', [g.op('Div', [least, sign])], { to: { int: FLOAT } });
  g.op('Softmax', [same], {}, 'p');
  g.output('p', 'float32', ['batch', 10]);
  return g.encode();
}
