import { GraphBuilder } from '../onnx/builder.ts';
import { addForwardPass, biasName, weightsName } from './network.ts';

/** Where a parameter stood after the step before; its difference to the new one is the momentum. */
export const previous = (parameter: string): string => `${parameter}_previous`;
/** Graph outputs: the parameter after the step. */
export const next = (parameter: string): string => `${parameter}_next`;

/** Every parameter's name and shape, weights and bias of layer 0 first. */
export function parameterShapes(sizes: number[]): { name: string; dims: number[] }[] {
  return sizes.slice(1).flatMap((outputs, layer) => [
    { name: weightsName(layer), dims: [sizes[layer]!, outputs] },
    { name: biasName(layer), dims: [outputs] },
  ]);
}

export interface StepGraphOptions {
  /** From the input to the classes, e.g. [784, 500, 100, 10]. */
  sizes: number[];
  momentum: number;
  /** With L2 the graph has the input `decay`; without, the multiplication is left out. */
  l2: boolean;
  /** Share of each label that is spread over all classes; default 0. */
  smoothing?: number;
}

/**
 * One training step of a multilayer perceptron as an ONNX graph.
 *
 * Inputs: `x` [N, inputs] float32, `labels` [N, 1] int32, `rate` scalar (learning rate / N), with L2 `decay` scalar
 * (1 − learning rate · l2), and for every parameter θ its `θ` and `θ_previous`.
 * Outputs: `loss` (summed cross-entropy of the batch, before the step), `correct` (number of right ones), and for
 * every parameter `θ_next` and `θ_previous_next`.
 *
 * The loss is mean cross-entropy (against smoothed labels, if they are to be) + l2 / 2 · Σ weights² (biases are not
 * decayed); the output `loss` is that against the labels themselves. The update is Nesterov's accelerated
 * gradient in its original form (Sutskever et al., On the importance of initialization and momentum in deep learning,
 * 2013, appendix A.1): with θ the look-ahead point and p the iterate,
 *   p' = θ − rate · ∇L(θ),  θ' = p' + momentum · (p' − p),
 * which is what Keras calls SGD(nesterov=True): its velocity is p' − p.
 *
 * Scaling the error at the logits by −rate / N scales every gradient behind it, so that p' of a weight matrix is a
 * single Gemm with the decayed weights as its C, instead of four more passes over the matrix.
 */
export function stepGraph({ sizes, momentum, l2, smoothing = 0 }: StepGraphOptions): Uint8Array {
  const graph = new GraphBuilder('training_step');
  const layers = sizes.length - 1;
  const classes = sizes[layers]!;
  graph.input('x', 'float32', ['N', sizes[0]!]);
  graph.input('labels', 'int32', ['N', 1]);
  graph.input('rate', 'float32', []);
  if (l2) graph.input('decay', 'float32', []);
  for (const { name, dims } of parameterShapes(sizes)) {
    graph.input(name, 'float32', dims);
    graph.input(previous(name), 'float32', dims);
  }
  graph.tensor('momentum', [], Float32Array.of(momentum));
  graph.tensor(
    'class_indexes',
    [1, classes],
    Int32Array.from({ length: classes }, (_, index) => index),
  );
  graph.tensor('axis_0', [1], BigInt64Array.of(0n));

  const { activations, logits } = addForwardPass(graph, 'x', layers);
  const logProbabilities = graph.op('LogSoftmax', [logits], { axis: { int: 1 } });
  const isLabel = graph.op('Equal', ['labels', 'class_indexes']);
  const oneHot = graph.op('Cast', [isLabel], { to: { int: FLOAT } });
  addMeasures(graph, logits, logProbabilities, oneHot);

  // Softmax and cross-entropy together have the gradient softmax − target at the logits; this is its negative.
  const target = smoothing > 0 ? smoothed(graph, oneHot, smoothing, classes) : oneHot;
  const error = graph.op('Sub', [target, graph.op('Exp', [logProbabilities])]);
  let delta = graph.op('Mul', [error, 'rate']);
  for (let layer = layers - 1; layer >= 0; layer--) {
    const weights = weightsName(layer);
    const activation = activations[layer]!;
    const decayed = l2 ? graph.op('Mul', [weights, 'decay']) : weights;
    const moved = graph.op(
      'Gemm',
      [activation, delta, decayed],
      { transA: { int: 1 } },
      next(previous(weights)),
    );
    addMomentum(graph, weights, moved);

    const bias = biasName(layer);
    const biasStep = graph.op('ReduceSum', [delta, 'axis_0'], { keepdims: { int: 0 } });
    addMomentum(graph, bias, graph.op('Add', [bias, biasStep], {}, next(previous(bias))));

    if (layer > 0) {
      const behind = graph.op('Gemm', [delta, weights], { transB: { int: 1 } });
      // ReLU's derivative, 1 where it let something through: the sign of its output, which is never negative.
      delta = graph.op('Mul', [behind, graph.op('Sign', [activation])]);
    }
  }
  for (const { name, dims } of parameterShapes(sizes)) {
    graph.output(next(name), 'float32', dims);
    graph.output(next(previous(name)), 'float32', dims);
  }
  return graph.encode();
}

/** TensorProto.DataType FLOAT, as the `to` of a Cast. */
const FLOAT = 1;

/** (1 − s) · label + s / classes: Szegedy et al., Rethinking the inception architecture, 2016, section 7. */
function smoothed(graph: GraphBuilder, oneHot: string, smoothing: number, classes: number): string {
  graph.tensor('label_share', [], Float32Array.of(1 - smoothing));
  graph.tensor('class_share', [], Float32Array.of(smoothing / classes));
  return graph.op('Add', [graph.op('Mul', [oneHot, 'label_share']), 'class_share']);
}

function addMomentum(graph: GraphBuilder, parameter: string, moved: string): void {
  const velocity = graph.op('Sub', [moved, previous(parameter)]);
  graph.op('Add', [moved, graph.op('Mul', [velocity, 'momentum'])], {}, next(parameter));
}

function addMeasures(graph: GraphBuilder, logits: string, logProbabilities: string, oneHot: string): void {
  const scalar = { keepdims: { int: 0 } };
  const likelihood = graph.op('ReduceSum', [graph.op('Mul', [logProbabilities, oneHot])], scalar);
  graph.op('Neg', [likelihood], {}, 'loss');
  const best = graph.op('ArgMax', [logits], { axis: { int: 1 }, keepdims: { int: 1 } });
  const hit = graph.op('Equal', [graph.op('Cast', [best], { to: { int: INT32 } }), 'labels']);
  graph.op('ReduceSum', [graph.op('Cast', [hit], { to: { int: FLOAT } })], scalar, 'correct');
  graph.output('loss', 'float32', []);
  graph.output('correct', 'float32', []);
}

/** TensorProto.DataType INT32. */
const INT32 = 6;

/** The forward pass alone with the parameters as inputs: `x` [N, inputs] → `logits` [N, classes]. */
export function forwardGraph(sizes: number[]): Uint8Array {
  const graph = new GraphBuilder('forward');
  graph.input('x', 'float32', ['N', sizes[0]!]);
  for (const { name, dims } of parameterShapes(sizes)) graph.input(name, 'float32', dims);
  const { logits } = addForwardPass(graph, 'x', sizes.length - 1);
  graph.output(graph.op('Identity', [logits], {}, 'logits'), 'float32', ['N', sizes.at(-1)!]);
  return graph.encode();
}
