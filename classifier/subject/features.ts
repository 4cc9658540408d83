import { HubError } from '../../errors.ts';
import { getBackbone, readBackboneBytes } from '../../sql/backbones.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { readFeatureData } from '../features/feature-data.ts';
import { combine } from '../features/head.ts';
import type { TrainingOptions } from '../train/defaults.ts';
import { measureStandard, withoutStandard } from '../train/standard.ts';
import { trainedOn } from '../train/train.ts';
import type { TrainingContext, TrainingRequest } from '../train-dataset.ts';
import { labelledRows, type SubjectPlan } from './subject.ts';

/** What differs from pixels: logistic regression, which features of a good network need no more than, and more of L2. */
export const FEATURE_DEFAULTS: Partial<TrainingOptions> = {
  hidden: [],
  epochs: 20,
  rate: 0.01,
  l2: 0.03,
  shift: 0,
};

/** Settings that are about pixels: images reach a backbone as its manifest says. */
const PIXEL_SETTINGS = ['shift', 'rotate', 'zoom', 'shear', 'elastic', 'elasticSigma', 'scale'] as const;

/** @throws HubError USAGE */
export function refusePixelSettings({
  options = {},
  size,
  threshold,
}: {
  options?: { readonly [K in keyof TrainingOptions]?: unknown } | undefined;
  size?: unknown;
  threshold?: unknown;
}): void {
  const given = [
    ...PIXEL_SETTINGS.filter((name) => options[name] !== undefined),
    ...(size ? ['size'] : []),
    ...((threshold ?? null) === null ? [] : ['threshold']),
  ];
  if (given.length === 0) return;
  throw new HubError(
    'USAGE',
    `${given.join(', ')}: for training on pixels, and not on a backbone’s features.`,
    {
      hint: 'Leave them out: how images reach the backbone is in its manifest (imagehub backbone show).',
    },
  );
}

/**
 * A backbone's features, each with its mean subtracted and divided by its deviation over the images trained on.
 * @throws HubError NOT_FOUND: the backbone
 */
export async function featureSubject(
  { pool, stores, signal, onRead }: TrainingContext,
  dataset: Dataset,
  name: string,
  request: TrainingRequest,
  options: TrainingOptions,
): Promise<SubjectPlan> {
  const backbone = await getBackbone(pool, name);
  return {
    threshold: null,
    async read() {
      const rows = labelledRows(request, options);
      const context = { pool, stores };
      const data = await readFeatureData(context, dataset, backbone, { ...rows, signal, onProgress: onRead });
      const onnx = await readBackboneBytes(pool, backbone.id);
      const { features } = backbone;
      const standard = measureStandard(data.inputs, features, trainedOn(data.labels.length, options));
      return {
        data,
        inputs: features,
        samples: { inputs: data.inputs, standard },
        size: null,
        finish: (parameters) =>
          combine(backbone, onnx, withoutStandard(parameters, standard), dataset.classes),
      };
    },
  };
}
