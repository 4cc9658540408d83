import { z } from 'zod';
import { HubError } from '../errors.ts';
import { FILTERS } from './preprocess/resample/taps.ts';
import { FITS } from './preprocess/fit.ts';

const name = z.string().min(1, 'must not be empty');
/** Numbers of one image (256 MiB as float32): the classifier keeps a batch of them in memory. */
const MOST_NUMBERS = 2 ** 26;

export const LAYOUTS = ['NCHW', 'NHWC', 'NHW', 'flat'] as const;
export const INPUT_TYPES = ['float32', 'uint8', 'float64'] as const;
export const ACTIVATIONS = ['softmax', 'none', 'sigmoid', 'binary'] as const;

const side = z.int().min(1).max(16_384, 'is larger than any image model takes (16384)');

/**
 * How pixel values 0…255 become numbers of the input:
 * `none` as they are; `unit` x / 255; `binarise` 1 where x > threshold, else 0; `mean-std` (x / 255 − mean) / std,
 * one mean and one std per channel in the model's channel order, on the 0…1 scale that torchvision documents.
 */
const scalingSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({ kind: z.literal('unit') }),
  z.strictObject({ kind: z.literal('binarise'), threshold: z.number().min(0).max(254).default(30) }),
  z.strictObject({
    kind: z.literal('mean-std'),
    mean: z.array(z.number().min(0).max(1, 'must be on the 0…1 scale: divide by 255')).min(1),
    std: z.array(z.number().positive()).min(1),
  }),
]);

/** How images get the input's size, see `Fitting` in preprocess/fit.ts. */
const resizeSchema = z.strictObject({
  fit: z.enum(FITS).default('stretch'),
  filter: z.enum(FILTERS).default('bilinear'),
  antialias: z.boolean().default(true),
  shorterSide: side.nullable().default(null),
  padding: z.int().min(0).max(255).default(0),
});

/** Stretched, bilinear and antialiased, which is what most exporters and servers do unasked. */
export const DEFAULT_RESIZE = resizeSchema.parse({});

/** What goes into a network, and how images become that. */
export const inputSchema = z
  .strictObject({
    /** The model's input tensor. */
    name,
    /** [N,C,H,W], [N,H,W,C], [N,H,W] (grey), or flat [N, H·W·C] with the channels of a pixel side by side. */
    layout: z.enum(LAYOUTS),
    elementType: z.enum(INPUT_TYPES).default('float32'),
    width: side,
    height: side,
    channels: z.union([z.literal(1), z.literal(3)], 'must be 1 (grey) or 3 (colour)'),
    colour: z.enum(['grey', 'rgb', 'bgr']),
    resize: resizeSchema.prefault({}),
    scaling: scalingSchema,
    /** Grey value 0…255 behind transparent pixels. */
    background: z.int().min(0).max(255).default(255),
    /** Negative: 255 − x before scaling, for models trained on the other polarity. */
    invert: z.boolean().default(false),
  })
  .superRefine((input, context) => {
    const problem = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if ((input.colour === 'grey') !== (input.channels === 1)) {
      problem(
        ['colour'],
        `is ${input.colour} but channels is ${input.channels}: grey has 1, rgb and bgr have 3`,
      );
    }
    if (input.layout === 'NHW' && input.channels !== 1) {
      problem(['layout'], 'NHW has no place for 3 channels; it is NCHW or NHWC');
    }
    if (input.width * input.height * input.channels > MOST_NUMBERS) {
      problem(
        ['width'],
        `and height make ${input.width * input.height * input.channels} numbers, more than ${MOST_NUMBERS}`,
      );
    }
    const { fit, shorterSide } = input.resize;
    if (shorterSide !== null && fit !== 'crop') {
      problem(['resize', 'shorterSide'], `is for the fit crop, and this is ${fit}`);
    }
    if (shorterSide !== null && shorterSide < Math.max(input.width, input.height)) {
      problem(
        ['resize', 'shorterSide'],
        `is ${shorterSide}, from which ${input.width} × ${input.height} cannot be cut out`,
      );
    }
    if (input.elementType === 'uint8' && !['none', 'binarise'].includes(input.scaling.kind)) {
      problem(
        ['scaling', 'kind'],
        `${input.scaling.kind} gives fractions, which a uint8 input cannot hold; use none`,
      );
    }
    if (input.scaling.kind === 'mean-std') {
      for (const list of ['mean', 'std'] as const) {
        const { length } = input.scaling[list];
        if (length !== input.channels) {
          problem(['scaling', list], `has ${length} values, but the input has ${input.channels} channels`);
        }
      }
    }
  });

const manifestSchema = z
  .strictObject({
    input: inputSchema,
    output: z.strictObject({
      /** The model's output tensor, [N, classes]; [N, 1] or [N] for sigmoid and binary. */
      name,
      /**
       * softmax: the output is logits, softmax is applied to it; none: it is probabilities already.
       * Of two classes, one number per image: its logit (sigmoid) or probability (binary) of being the second.
       */
      activation: z.enum(ACTIVATIONS),
    }),
    /** Of a network that was trained here on a backbone's features: which backbone, and the value that is its features. */
    backbone: z.strictObject({ name, sha256: z.string(), output: name }).optional(),
    /** Class names in the order of the model's output. */
    classes: z
      .array(name)
      .min(2, 'needs at least two classes')
      .superRefine((classes, context) => {
        const twice = classes.filter((value, index) => classes.indexOf(value) !== index);
        if (twice.length > 0) {
          context.addIssue({
            code: 'custom',
            message: `names ${[...new Set(twice)].join(', ')} more than once`,
          });
        }
      }),
  })
  .superRefine(({ output: { activation }, classes }, context) => {
    if ((activation === 'sigmoid' || activation === 'binary') && classes.length !== 2) {
      const message = `${activation} is for two classes, and ${classes.length} are named`;
      context.addIssue({ code: 'custom', path: ['output', 'activation'], message });
    }
  });

/** What a model expects and what it says: everything besides the ONNX bytes that is needed to apply it. */
export type Manifest = z.output<typeof manifestSchema>;
export type ManifestInput = Manifest['input'];
export type Scaling = z.output<typeof scalingSchema>;

/** As written by a person: fields with a default may be left out. */
export type ManifestDraft = z.input<typeof manifestSchema>;

/**
 * Checks a manifest, e.g. parsed JSON, and fills in defaults.
 * @throws HubError BAD_MODEL that lists every problem with the field it is in.
 */
export function parseManifest(value: unknown): Manifest {
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'manifest'}: ${message}`,
  );
  throw new HubError('BAD_MODEL', `The model’s manifest is wrong:\n  ${problems.join('\n  ')}`, {
    hint: 'Correct the fields named above and register the model again.',
  });
}

/** Numbers in one image's tensor. */
export function inputSize({ width, height, channels }: ManifestInput): number {
  return width * height * channels;
}

/** Numbers that the model gives for one image. */
export function outputSize({ output: { activation }, classes }: Manifest): number {
  return activation === 'sigmoid' || activation === 'binary' ? 1 : classes.length;
}

/** The input tensor's shape for a batch of `batch` images. */
export function inputShape(input: ManifestInput, batch: number): number[] {
  const { width, height, channels } = input;
  switch (input.layout) {
    case 'NCHW':
      return [batch, channels, height, width];
    case 'NHWC':
      return [batch, height, width, channels];
    case 'NHW':
      return [batch, height, width];
    case 'flat':
      return [batch, width * height * channels];
  }
}

/** The 256 values that pixel values 0…255 of one channel become; one table for training and inference alike. */
export function scaleTable(scaling: Scaling, channel = 0, invert = false): Float32Array {
  return Float32Array.from({ length: 256 }, (_, index) => {
    const pixel = invert ? 255 - index : index;
    switch (scaling.kind) {
      case 'none':
        return pixel;
      case 'unit':
        return pixel / 255;
      case 'binarise':
        return pixel > scaling.threshold ? 1 : 0;
      case 'mean-std':
        return (pixel / 255 - (scaling.mean[channel] ?? 0)) / (scaling.std[channel] ?? 1);
    }
  });
}
