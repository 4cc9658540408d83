import { parseManifest } from '../classifier/manifest.ts';
import type { Manifest } from '../classifier/manifest.ts';
import { exportModel } from '../classifier/train/export.ts';
import { xavier } from '../classifier/train/network.ts';
import { mulberry32 } from '../classifier/train/random.ts';

export const DIGIT_CLASSES = [...'0123456789'];

const SIDE = 28;
const SEED = 4;

/**
 * The network that ours and all peers run: 784-500-100-10 on pixels > 30, with an input `x` [N, 784] and an output `p`
 * [N, 10]. Its weights are random, the same each time: it takes as long as a trained one.
 * @param seed another one gives another network
 */
export function benchModel(seed = SEED): { onnx: Uint8Array; manifest: Manifest } {
  const manifest = parseManifest({
    input: {
      name: 'x',
      layout: 'flat',
      width: SIDE,
      height: SIDE,
      channels: 1,
      colour: 'grey',
      scaling: { kind: 'binarise', threshold: 30 },
    },
    output: { name: 'p', activation: 'none' },
    classes: DIGIT_CLASSES,
  });
  const parameters = xavier([SIDE * SIDE, 500, 100, DIGIT_CLASSES.length], mulberry32(seed));
  return { onnx: exportModel(parameters, manifest), manifest };
}
