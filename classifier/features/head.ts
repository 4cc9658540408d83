import type { StoredBackbone } from '../../sql/backbones.ts';
import { type Manifest, parseManifest } from '../manifest.ts';
import { attachHead, HEAD_PREFIX } from '../onnx/attach-head.ts';
import type { Parameters } from '../train/network.ts';
import { parseBackbone } from './backbone.ts';
import { headGraph, SCORES } from './head-graph.ts';

export type HeadedBackbone = Pick<StoredBackbone, 'name' | 'sha256' | 'manifest'>;

/** The manifest of a backbone with a head. @param classes in the order of the labels that were trained on @throws HubError BAD_MODEL */
export function headManifest({ name, sha256, manifest }: HeadedBackbone, classes: string[]): Manifest {
  const { input, output } = parseBackbone(manifest);
  return parseManifest({
    input,
    output: { name: HEAD_PREFIX + SCORES, activation: 'softmax' },
    classes,
    backbone: { name, sha256, output: output.name },
  });
}

/** A backbone and a head (see `headGraph`) as one ONNX model: images in, logits out. @throws HubError BAD_MODEL */
export const withHead = ({ manifest }: HeadedBackbone, onnx: Uint8Array, head: Uint8Array): Uint8Array =>
  attachHead(onnx, parseBackbone(manifest).output.name, head);

/**
 * A backbone and a network trained on its features as one ONNX model, with its manifest.
 * @param parameters for features as the backbone gives them
 * @param classes in the order of the labels that were trained on
 * @throws HubError BAD_MODEL
 */
export function combine(
  backbone: HeadedBackbone,
  onnx: Uint8Array,
  parameters: Parameters,
  classes: string[],
): { onnx: Uint8Array; manifest: Manifest } {
  const head = headGraph(parseBackbone(backbone.manifest).output.name, parameters);
  return { onnx: withHead(backbone, onnx, head), manifest: headManifest(backbone, classes) };
}
