import type { Command } from 'commander';
import { type FeatureParameters, featureRequest, FEATURES } from '../classifier/features/features-job.ts';
import type { Job } from '../jobs/job.ts';
import type { JobCommand } from './job-command.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';

type Options = SelectionOptions & { backbone: string; again?: boolean };

export const featuresCommand: JobCommand<FeatureParameters> = {
  usage: 'features <dataset>',
  description:
    'what a backbone gives for stored images, into imagehub.features: for training, nearest neighbours and outliers',
  kind: FEATURES,
  configure: (command: Command) =>
    addSelectionOptions(
      command.requiredOption('--backbone <name>', 'which one; imagehub backbone list names them'),
    ).option('--again', 'also of images whose features are there and of their present bytes'),
  request: (context, [dataset = ''], options) => {
    const { backbone, again = false, ...selection } = options as Options;
    return featureRequest(context, { dataset, backbone, selection: parseSelection(selection), again });
  },
  summary: computedText,
};

const figures = new Intl.NumberFormat('en');

function computedText({ job, dataset, parameters, counts, units }: Job<FeatureParameters>): string {
  const { backbone } = parameters;
  const { images = 0, failed = 0 } = counts;
  if (units === 0)
    return `Job ${job}: every image of ${dataset} that was asked for has features by ${backbone}.`;
  const lines = [
    `Job ${job}: features of ${figures.format(images - failed)} images of ${dataset} by ${backbone} are in imagehub.features.`,
  ];
  if (failed > 0) lines.push(`  ${figures.format(failed)} images have none: see error.`);
  return lines.join('\n');
}
