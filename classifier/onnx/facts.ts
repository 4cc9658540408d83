import type { ModelDescription } from './describe.ts';

/** How an ONNX file was made, for the record. */
export interface OnnxFacts {
  irVersion: number;
  /** `pytorch 2.9.0` */
  producer: string;
  /** Versions of the operator sets by domain; '' is the default one. */
  opsets: Record<string, number>;
}

export function onnxFacts({ irVersion, producer, producerVersion, opsets }: ModelDescription): OnnxFacts {
  return { irVersion, producer: `${producer} ${producerVersion}`.trim(), opsets };
}
