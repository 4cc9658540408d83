import { HubError } from '../../errors.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { type Scaling, scaleTable } from '../manifest.ts';
import { BINARISE_THRESHOLD, scalingOf, type TrainingOptions } from '../train/defaults.ts';
import { exportModel, networkManifest } from '../train/export.ts';
import type { TrainingContext, TrainingRequest } from '../train-dataset.ts';
import { readTrainingData } from '../training-data.ts';
import { labelledRows, sizeText, type SubjectPlan } from './subject.ts';

/** Grey pixels of images of one size. @throws HubError USAGE for settings that contradict each other */
export function pixelSubject(
  { pool, stores, maxPixels, signal, onRead }: TrainingContext,
  dataset: Dataset,
  request: TrainingRequest,
  options: TrainingOptions,
): SubjectPlan {
  const scaling = chooseScaling(options, request.threshold);
  const { classes, background } = dataset;
  return {
    threshold: scaling.kind === 'binarise' ? scaling.threshold : null,
    async read() {
      const rows = labelledRows(request, options);
      const { size } = request;
      const data = await readTrainingData({ pool, stores }, dataset, {
        ...rows,
        size,
        maxPixels,
        signal,
        onProgress: onRead,
      });
      const { width, height, inputs } = data;
      return {
        data,
        inputs: width * height,
        samples: { inputs, table: scaleTable(scaling), image: { width, height, channels: 1 } },
        size: sizeText(data),
        finish(parameters) {
          const manifest = networkManifest({ width, height, channels: 1, scaling, classes, background });
          return { manifest, onnx: exportModel(parameters, manifest) };
        },
      };
    },
  };
}

/** @throws HubError USAGE */
function chooseScaling({ scale }: TrainingOptions, threshold: number | undefined): Scaling {
  const scaling = scalingOf(scale);
  if (threshold === undefined) return scaling;
  if (scaling.kind !== 'binarise') {
    throw new HubError('USAGE', `A threshold is for binarised pixels, and the scale is ${scale}.`, {
      hint: 'Leave one of --threshold and --scale out.',
    });
  }
  if (!(threshold >= 0 && threshold <= 254)) {
    throw new HubError('USAGE', `A threshold of ${threshold} divides nothing: pixels are 0 to 255.`, {
      hint: `Give a number from 0 to 254; the default is ${BINARISE_THRESHOLD}.`,
    });
  }
  return { ...scaling, threshold };
}
