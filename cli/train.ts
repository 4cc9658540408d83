import { type Command, Option } from 'commander';
import { promote, type PromotionResult } from '../classifier/registry.ts';
import {
  BINARISE_THRESHOLD,
  TRAINING,
  trainingOptions,
  type TrainingOptions,
} from '../classifier/train/defaults.ts';
import type { EpochProgress, StepProgress } from '../classifier/train/train.ts';
import { trainDataset, type TrainedModel } from '../classifier/train-dataset.ts';
import type { Size } from '../classifier/training-data.ts';
import { HubError } from '../errors.ts';
import { actingUser } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { featureDefaultsText } from './feature-defaults.ts';
import { openHub } from './hub.ts';
import { computeMissing } from './missing-features.ts';
import { note, report } from './output.ts';
import { createProgress, duration, type Progress } from './progress.ts';
import { promotionText } from './promote.ts';
import { parseSample } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

type Options = { readonly [K in keyof TrainingOptions]?: string } & {
  threshold?: string;
  size?: string;
  where?: string;
  limit?: string;
  sample?: string;
  byClass?: boolean;
  backbone?: string;
  resume?: string;
  promote?: boolean;
  json?: boolean;
};

/** Flags that are not the setting's name. */
const FLAGS: Partial<Record<keyof TrainingOptions, string>> = {
  hidden: 'hidden <sizes>',
  scale: 'scale <how>',
  validationSplit: 'validation <share>',
  elasticSigma: 'elastic-sigma <n>',
};

export const trainCommand: RegisterCommand = (program) => {
  const command = program
    .command('train <dataset>')
    .description(
      'train a network of dense layers on the labelled images of the table, by their pixels or by a backbone’s features, and register it as a model',
    );
  for (const [name, { schema, doc }] of Object.entries(TRAINING)) {
    const flag = FLAGS[name as keyof TrainingOptions] ?? `${name} <n>`;
    command.addOption(new Option(`--${flag}`, `${doc} (default: ${String(schema.parse(undefined))})`));
  }
  command
    .option(
      '--threshold <n>',
      `Pixels greater than this are ink when binarised. (default: ${BINARISE_THRESHOLD})`,
    )
    .option('--size <size>', 'What images are resized to, e.g. 28x28. (default: the size of the first image)')
    .option('--where <sql>', 'Only images that meet this condition over the dataset’s columns.')
    .option('--sample <share>', 'A part of them, drawn by the seed: 0.1 is a tenth.')
    .option('--by-class', 'With --sample: that share of each class, rounded up.')
    .option('--limit <n>', 'At most so many images, drawn by the seed.')
    .option(
      '--backbone <name>',
      `Train on its features, ${featureDefaultsText()} Those not stored are computed first.`,
    )
    .option('--resume <run>', 'Go on with an interrupted run where it stood, with its settings.')
    .option('--promote', 'Make the model live when it is done.')
    .option('--json', 'One JSON document on standard output.')
    .action(train);
};

async function train(dataset: string, options: Options, command: Command): Promise<void> {
  const request = {
    options: { ...options, validationSplit: (command.opts() as { validation?: string }).validation },
    threshold: options.threshold === undefined ? undefined : numberOf('--threshold', options.threshold, 0),
    where: options.where ?? null,
    limit: options.limit === undefined ? null : numberOf('--limit', options.limit, 1),
    size: options.size === undefined ? null : sizeOf(options.size),
    resume: options.resume === undefined ? null : numberOf('--resume', options.resume, 1),
    backbone: options.backbone ?? null,
    sample: parseSample({ sample: options.sample, byClass: options.byClass }),
  };
  const { resume, promote: _, json: __, ...settings } = options;
  if (resume !== undefined && Object.keys(settings).length > 0) {
    throw new HubError('USAGE', `Run ${resume} goes on with its own settings.`, {
      hint: `Leave the others out: imagehub train ${dataset} --resume ${resume}`,
    });
  }
  await using hub = await openHub(commandContext());
  if (options.backbone) {
    const { seed } = trainingOptions({ seed: options.seed });
    const sample = request.sample && { ...request.sample, seed };
    await computeMissing(hub, dataset, options.backbone, { where: request.where, sample });
  }
  const { maxPixels, checkpointSeconds } = hub.config;
  const shown = showProgress();
  let result: TrainedModel & { promotion?: PromotionResult };
  try {
    result = await trainDataset(
      {
        pool: hub.pool,
        stores: hub.stores,
        maxPixels,
        checkpointSeconds,
        signal: interruptSignal(),
        ...shown,
      },
      dataset,
      request,
    );
  } finally {
    shown.stop();
  }
  warnOfSkipped(result);
  warnOfHeldOut(result);
  if (options.promote) {
    result.promotion = await promote(hub.pool, dataset, result.model, `trained by run ${result.run}`, {
      by: actingUser(undefined),
    });
  }
  report(options, result, trainedText);
}

/** @throws HubError USAGE */
function numberOf(flag: string, text: string, min: number): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isInteger(value) && value >= min && value <= 2 ** 31 - 1) return value;
  throw new HubError('USAGE', `${flag} ${text} is not a whole number from ${min} on.`);
}

function sizeOf(text: string): Size {
  const [, width, height] = /^([1-9]\d{0,4})[x×]([1-9]\d{0,4})$/.exec(text) ?? [];
  if (width && height) return { width: Number(width), height: Number(height) };
  throw new HubError('USAGE', `--size ${text} is not a size.`, {
    hint: 'Write width x height: --size 28x28',
  });
}

/** Images read, then trained on; where there is no terminal, a line per epoch. */
function showProgress() {
  let progress: Progress | undefined;
  let validation = '';
  const next = (label: string, total: number, unit?: string): Progress => {
    progress?.stop();
    return (progress = createProgress({ label, total, ...(unit ? { unit } : {}) }));
  };
  let reading: Progress | undefined;
  let training: Progress | undefined;
  return {
    onRead(read: number, total: number): void {
      reading ??= next('reading', total);
      reading.update(read);
    },
    onStep({ step, steps, epoch, loss, accuracy }: StepProgress): void {
      training ??= next('training', steps, 'steps');
      training.update(
        step,
        `epoch ${epoch}, loss ${loss.toFixed(4)}, accuracy ${accuracy.toFixed(4)}${validation}`,
      );
    },
    onEpoch(progress: EpochProgress): void {
      const { validationAccuracy } = progress;
      if (validationAccuracy !== null) validation = `, validation ${validationAccuracy.toFixed(4)}`;
      if (!process.stderr.isTTY) note(epochText(progress));
    },
    stop: () => progress?.stop(),
  };
}

function epochText({ epoch, epochs, loss, accuracy, validationAccuracy, seconds }: EpochProgress): string {
  const validation =
    validationAccuracy === null ? '' : `, validation accuracy ${validationAccuracy.toFixed(4)}`;
  return `epoch ${epoch} of ${epochs}: loss ${loss.toFixed(4)}, accuracy ${accuracy.toFixed(4)}${validation}, ${duration(seconds)}`;
}

function warnOfSkipped({ parameters: { skipped } }: TrainedModel): void {
  if (skipped.count === 0) return;
  note(`${skipped.count} labelled images could not be decoded and were left out:`);
  for (const { id, reason } of skipped.examples) note(`  ${id}: ${reason}`);
  if (skipped.count > skipped.examples.length)
    note(`  … and ${skipped.count - skipped.examples.length} more`);
}

function warnOfHeldOut({ parameters: { heldOutClasses } }: TrainedModel): void {
  if (heldOutClasses.length === 0) return;
  note(
    `All images of ${heldOutClasses.join(', ')} were kept out for validation, so that the model cannot know ${heldOutClasses.length === 1 ? 'that class' : 'those classes'}: label more, or train with --validation 0 or another --seed.`,
  );
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

function trainedText(result: TrainedModel & { promotion?: PromotionResult }): string {
  const { model, dataset, images, run, parameters, metrics, seconds, promotion } = result;
  const lines = [
    `Model ${model} of ${dataset}: ${parameters.sizes.join('-')}, trained on ${metrics.trainingImages} of ${images} labelled images in ${duration(seconds)} (run ${run}).`,
    `  training accuracy    ${percent(metrics.trainingAccuracy)}, loss ${metrics.trainingLoss.toFixed(4)}`,
  ];
  if (metrics.validationAccuracy !== null) {
    lines.push(
      `  validation accuracy  ${percent(metrics.validationAccuracy)}, loss ${metrics.validationLoss!.toFixed(4)}, on the ${metrics.validationImages} images kept out of training`,
    );
  }
  lines.push(promotion ? promotionText(promotion) : `Make it live: imagehub promote ${dataset} ${model}`);
  return lines.join('\n');
}
