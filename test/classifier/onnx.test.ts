import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import { describeModel } from '../../classifier/onnx/describe.ts';

const shared = new URL('../../../shared/', import.meta.url);

function doubling(): GraphBuilder {
  const graph = new GraphBuilder('doubling');
  const x = graph.input('x', 'float32', ['N', 2]);
  const two = graph.tensor('two', [], Float32Array.of(2));
  graph.op('Mul', [x, two], {}, 'y');
  graph.output('y', 'float32', ['N', 2]);
  return graph;
}

describe('encodeModel', () => {
  test('makes a file that onnxruntime runs', async () => {
    const session = await InferenceSession.create(doubling().encode());
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, -3, 0.5, 4), [2, 2]) });
    expect([...(y!.data as Float32Array)]).toEqual([2, -6, 1, 8]);
    expect(y!.dims).toEqual([2, 2]);
    await session.release();
  });

  test('writes attributes of every kind, and negative integers', async () => {
    const graph = new GraphBuilder('attributes');
    const x = graph.input('x', 'float32', ['N', 2]);
    const axes = graph.tensor('axes', [1], BigInt64Array.of(-1n));
    const transposed = graph.op('Transpose', [x], { perm: { ints: [1, 0] } });
    const leaky = graph.op('LeakyRelu', [transposed], { alpha: { float: 0.5 } });
    graph.op(
      'ReduceSum',
      [graph.op('LogSoftmax', [leaky], { axis: { int: -1 } }), axes],
      { keepdims: { int: 0 } },
      'y',
    );
    graph.output('y', 'float32', [2]);
    const session = await InferenceSession.create(graph.encode());
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(-2, 0, 0, 0), [2, 2]) });
    // Rows after transposing and LeakyRelu: (−1, 0) and (0, 0).
    const total = Math.log(1 + Math.exp(-1));
    expect(y!.data[0]).toBeCloseTo(-1 - 2 * total, 5);
    expect(y!.data[1]).toBeCloseTo(-2 * Math.log(2), 5);
    await session.release();
  });

  test('refuses a constant whose dimensions contradict its elements', () => {
    const graph = new GraphBuilder('wrong');
    graph.tensor('weights', [2, 3], new Float32Array(5));
    expect(() => graph.encode()).toThrow('weights has 5 elements, its dimensions 2×3 say 6');
  });
});

describe('describeModel', () => {
  test('reads back what was written', () => {
    expect(describeModel(doubling().encode({ dataset: 'mnist' }))).toEqual({
      producer: 'imagehub',
      producerVersion: '',
      irVersion: 8,
      opset: 17,
      opsets: { '': 17 },
      inputs: [{ name: 'x', elementType: 'float32', shape: ['N', 2] }],
      outputs: [{ name: 'y', elementType: 'float32', shape: ['N', 2], operator: 'Mul' }],
      metadata: { dataset: 'mnist' },
      classNames: null,
      externalFiles: [],
    });
  });

  test('reads models of other exporters', () => {
    const network = describeModel(readFileSync(new URL('models/efficientnet-lite0.onnx', shared)));
    expect(network.inputs).toEqual([{ name: 'input', elementType: 'float32', shape: ['N', 3, 'H', 'W'] }]);
    expect(network.outputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['features', ['N', 1280]],
      ['logits', ['N', 1000]],
    ]);
  });

  test.each([
    ['a text', Buffer.from('hello, this is no model at all')],
    ['a PNG', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')],
    ['nothing', new Uint8Array(0)],
    ['a file cut short', doubling().encode().subarray(0, 60)],
  ])('says that %s is not an ONNX file', (_, bytes) => {
    expect(() => describeModel(bytes)).toThrow(
      expect.objectContaining({ code: 'BAD_MODEL', message: expect.stringContaining('Not an ONNX file') }),
    );
  });
});
