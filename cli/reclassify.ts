import type { Command } from 'commander';
import { RECLASSIFY } from '../classifier/reclassify/reclassify.ts';
import { type Parameters, reclassifyRequest } from '../classifier/reclassify/request.ts';
import type { Job } from '../jobs/job.ts';
import type { JobCommand } from './job-command.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';

export const reclassifyCommand: JobCommand<Parameters> = {
  usage: 'reclassify <dataset>',
  description:
    'classify stored images anew with the live model; predictions that it replaces are kept in imagehub.predictions',
  kind: RECLASSIFY,
  configure: (command: Command) =>
    addSelectionOptions(command).option(
      '--only-outdated',
      'only images that the live model has not processed: predicted by another one, or not at all',
    ),
  request: (context, [dataset = ''], options: SelectionOptions & { onlyOutdated?: boolean }) =>
    reclassifyRequest(context, {
      dataset,
      selection: parseSelection(options),
      onlyOutdated: options.onlyOutdated ?? false,
    }),
  summary: reclassifiedText,
};

const figures = new Intl.NumberFormat('en');

function reclassifiedText({ job, dataset, parameters, counts, units }: Job<Parameters>): string {
  const { images = 0, written = 0, changed = 0, failed = 0, superseded = 0, overtaken = 0 } = counts;
  const { model } = parameters;
  if (units === 0) return `Job ${job}: there is no image in ${dataset} to reclassify with model ${model}.`;
  const lines = [
    `Job ${job}: model ${model} classified ${figures.format(images)} images of ${dataset}; ${figures.format(written)} were written, ${figures.format(changed)} of them with another class than before.`,
  ];
  const same = images - written - overtaken;
  if (same > 0) lines.push(`  ${figures.format(same)} said the same already.`);
  if (overtaken > 0)
    lines.push(`  ${figures.format(overtaken)} were deleted or classified by others meanwhile.`);
  if (superseded > 0)
    lines.push(
      `  ${figures.format(superseded)} predictions of other models are kept in imagehub.predictions.`,
    );
  if (failed > 0) lines.push(`  ${figures.format(failed)} could not be classified: see classify_error.`);
  return lines.join('\n');
}
