import { GraphBuilder } from '../../classifier/onnx/builder.ts';

const PIXELS = 784;
/** Square matrices of this size are multiplied so often: minutes, on any core. */
const SIDE = 3000;
const TIMES = 600;
/** ONNX's numbers of types. */
const INT64 = 7;
const FLOAT = 1;
const WHITE = 255;

/**
 * A real ONNX model (784 grey values `x`, 10 probabilities `p`, for LINEAR_MANIFEST) that is quick, unless the first pixel of
 * one of the images is that bright or brighter: then it multiplies large matrices before it answers, and all that can be done is to end its
 * process.
 * @param times so often; 12 take several seconds, on fast cores, too
 */
export function slowModel({ from = WHITE, times = TIMES } = {}): Uint8Array {
  const g = new GraphBuilder('slow');
  const x = g.input('x', 'float32', ['batch', PIXELS]);
  const weights = Float32Array.from({ length: PIXELS * 10 }, (_, index) => (index < 10 ? 1 / from : 0));
  const first = g.op('MatMul', [x, g.tensor('weights', [PIXELS, 10], weights)]);
  const bright = g.op(
    'Cast',
    [
      g.op('GreaterOrEqual', [
        g.op('ReduceMax', [first], { keepdims: { int: 0 } }),
        g.tensor('from', [], Float32Array.of(1)),
      ]),
    ],
    { to: { int: FLOAT } },
  );
  const side = g.op('Add', [
    g.op('Mul', [bright, g.tensor('side', [], Float32Array.of(SIDE))]),
    g.tensor('one', [], Float32Array.of(1)),
  ]);
  const whole = g.op('Reshape', [
    g.op('Cast', [side], { to: { int: INT64 } }),
    g.tensor('vector', [1], BigInt64Array.of(1n)),
  ]);
  const shape = g.op('Concat', [whole, whole], { axis: { int: 0 } });
  let matrix = g.op('Expand', [g.tensor('small', [1, 1], Float32Array.of(1 / SIDE)), shape]);
  for (let time = 0; time < times; time++) matrix = g.op('MatMul', [matrix, matrix]);
  const nothing = g.op('Mul', [
    g.op('ReduceMean', [matrix], { keepdims: { int: 0 } }),
    g.tensor('zero', [], Float32Array.of(0)),
  ]);
  g.op('Softmax', [g.op('Add', [first, nothing])], {}, 'p');
  g.output('p', 'float32', ['batch', 10]);
  return g.encode();
}
