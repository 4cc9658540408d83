import { z } from 'zod';
import { HubError } from '../../errors.ts';
import type { Scaling } from '../manifest.ts';

interface Option<T extends z.ZodType> {
  schema: T;
  doc: string;
}

function option<T extends z.ZodType>(schema: T, doc: string): Option<T> {
  return { schema, doc };
}

/** Numbers may come from a command line as text. */
const number = z.coerce.number<number | string>();
const layerSize = number.int().min(1).max(65_536);
/** `500,100`; an empty text, or `none`, is no hidden layer. */
const sizes = z.preprocess(
  (value) =>
    typeof value === 'string'
      ? value.split(',').filter((size) => !['', 'none'].includes(size.trim()))
      : value,
  z.array(layerSize).max(16),
);

/** Pixels greater than this are ink when images are binarised. */
export const BINARISE_THRESHOLD = 30;

/** Every hyper-parameter of training, once: type, default, meaning. Command-line options come from this. */
export const TRAINING = {
  hidden: option(
    sizes.default([500, 100]),
    'Sizes of the hidden layers, comma-separated; none for logistic regression.',
  ),
  epochs: option(number.int().min(1).max(100_000).default(12), 'Passes over the training images.'),
  batch: option(number.int().min(1).max(65_536).default(128), 'Images per update of the weights.'),
  rate: option(
    number.positive().default(0.1),
    'Learning rate at the start; it falls to 0 along half a cosine.',
  ),
  momentum: option(number.min(0).lt(1).default(0.9), 'Nesterov momentum.'),
  l2: option(
    number.min(0).lt(1).default(1e-4),
    'L2 penalty on the weights: this / 2 · Σ weights² is added to the loss.',
  ),
  shift: option(
    number.int().min(0).max(64).default(1),
    'Training images are moved at random by up to this many pixels, so that position matters less; 0 turns it off.',
  ),
  rotate: option(
    number.min(0).max(180).default(0),
    'Training images are turned at random by up to this many degrees to either side.',
  ),
  zoom: option(
    number.min(0).max(0.9).default(0),
    'Training images are made larger or smaller at random by up to this share, width and height each by itself.',
  ),
  shear: option(
    number.min(0).max(2).default(0),
    'Training images are slanted at random by up to this many pixels per pixel of height, to either side.',
  ),
  elastic: option(
    number.min(0).max(64).default(0),
    'Training images are distorted like rubber, each pixel moved at random by about this many pixels along each axis.',
  ),
  elasticSigma: option(
    number.min(0.5).max(64).default(4),
    'How smooth the elastic distortion is: pixels nearer to each other than this move alike.',
  ),
  smoothing: option(
    number.min(0).max(0.5).default(0),
    'Label smoothing: this share of each label is spread over all classes, so that the network is less sure of itself.',
  ),
  seed: option(
    number.int().min(0).max(0xffff_ffff).default(1),
    'Seed of the initial weights, the order and distortions of the images and the validation split.',
  ),
  validationSplit: option(
    number.min(0).max(0.9).default(0.05),
    'Share of the labelled images that is kept out of training to measure the model; 0 trains on all.',
  ),
  scale: option(
    z.enum(['binarise', 'unit']).default('binarise'),
    `How pixels enter the network: binarise (1 where the pixel is > ${BINARISE_THRESHOLD}, else 0) or unit (grey values / 255).`,
  ),
} as const;

export type TrainingOptions = {
  -readonly [K in keyof typeof TRAINING]: z.output<(typeof TRAINING)[K]['schema']>;
};

/**
 * Fills in defaults and checks every hyper-parameter; numbers and lists may be given as text.
 * @param defaults win over those of `TRAINING`
 * @throws HubError USAGE that lists every bad one.
 */
export function trainingOptions(
  values: { readonly [K in keyof TrainingOptions]?: unknown } = {},
  defaults: Partial<TrainingOptions> = {},
): TrainingOptions {
  const problems: string[] = [];
  const options: Record<string, unknown> = {};
  for (const [name, { schema }] of Object.entries(TRAINING)) {
    const parsed = schema.safeParse(
      values[name as keyof TrainingOptions] ?? defaults[name as keyof TrainingOptions],
    );
    if (parsed.success) options[name] = parsed.data;
    else problems.push(`${name}: ${parsed.error.issues.map(({ message }) => message).join(', ')}`);
  }
  if (problems.length > 0) {
    throw new HubError('USAGE', `Training cannot start with these settings:\n  ${problems.join('\n  ')}`, {
      hint: 'imagehub train --help lists every setting with its default.',
    });
  }
  return options as TrainingOptions;
}

/** The manifest's scaling for the setting `scale`. */
export function scalingOf(scale: TrainingOptions['scale']): Scaling {
  return scale === 'unit' ? { kind: 'unit' } : { kind: 'binarise', threshold: BINARISE_THRESHOLD };
}
