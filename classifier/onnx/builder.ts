import { encodeModel } from './model.ts';
import type { Attribute, Graph, Tensor, ValueInfo } from './model.ts';

/**
 * Builds a graph operator by operator; every method returns the name of the value it made, so formulas read
 * inside out: `g.op('Relu', [g.op('Gemm', [x, weight, bias])])`.
 */
export class GraphBuilder {
  readonly #graph: Graph;

  constructor(name: string) {
    this.#graph = { name, inputs: [], outputs: [], initializers: [], nodes: [] };
  }

  input(name: string, elementType: ValueInfo['elementType'], shape: ValueInfo['shape']): string {
    this.#graph.inputs.push({ name, elementType, shape });
    return name;
  }

  /** A constant; `dims` [] makes it a scalar. */
  tensor(name: string, dims: number[], data: Tensor['data']): string {
    this.#graph.initializers.push({ name, dims, data });
    return name;
  }

  /** One operator with one output, named `output` or after its place in the graph. */
  op(op: string, inputs: string[], attributes: Record<string, Attribute> = {}, output?: string): string {
    const name = output ?? `${op.toLowerCase()}_${this.#graph.nodes.length}`;
    this.opOf(op, inputs, attributes, [name]);
    return name;
  }

  /** One operator with several outputs. */
  opOf(op: string, inputs: string[], attributes: Record<string, Attribute>, outputs: string[]): void {
    this.#graph.nodes.push({ op, inputs, outputs, attributes });
  }

  /** Declares a value of the graph as its output. */
  output(name: string, elementType: ValueInfo['elementType'], shape: ValueInfo['shape']): void {
    this.#graph.outputs.push({ name, elementType, shape });
  }

  encode(metadata: Record<string, string> = {}): Uint8Array {
    return encodeModel(this.#graph, metadata);
  }
}
