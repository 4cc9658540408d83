import type { Command } from 'commander';
import { PREDICT } from '../classifier/reclassify/predict.ts';
import { type Parameters, predictRequest } from '../classifier/reclassify/request.ts';
import type { Job } from '../jobs/job.ts';
import type { JobCommand } from './job-command.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';

type Options = SelectionOptions & { model: string; onlyOutdated?: boolean };

export const predictCommand: JobCommand<Parameters> = {
  usage: 'predict <dataset>',
  description:
    'what a model that is not live says about stored images, into imagehub.predictions; the images stay as they are',
  kind: PREDICT,
  configure: (command: Command) =>
    addSelectionOptions(
      command.requiredOption('--model <model>', 'its number, or previous or shadow'),
    ).option(
      '--only-outdated',
      'only images that the model has not processed, or whose bytes have changed since',
    ),
  request: (context, [dataset = ''], options) => {
    const { model, onlyOutdated = false, ...selection } = options as Options;
    return predictRequest(context, { dataset, selection: parseSelection(selection), onlyOutdated }, model);
  },
  summary: predictedText,
};

const figures = new Intl.NumberFormat('en');

function predictedText({ job, dataset, parameters: { model }, counts, units }: Job<Parameters>): string {
  const { images = 0, different = 0, failed = 0 } = counts;
  if (units === 0) return `Job ${job}: there is no image in ${dataset} for model ${model} to predict.`;
  const lines = [
    `Job ${job}: ${figures.format(images)} predictions of model ${model} are in imagehub.predictions; ${figures.format(different)} differ from what the images of ${dataset} say.`,
  ];
  if (failed > 0) lines.push(`  On ${figures.format(failed)} images the model failed: see error.`);
  return lines.join('\n');
}
