import { z } from 'zod';
import { HubError } from '../../errors.ts';
import { ACTIVATIONS, INPUT_TYPES, LAYOUTS, type Scaling } from '../manifest.ts';
import { FILTERS } from '../preprocess/resample/taps.ts';
import { FITS } from '../preprocess/fit.ts';

const side = z.int().positive();

/** A manifest that need not be complete: null and left out are the same, and are guessed from the model or asked for. */
const givenSchema = z.strictObject({
  input: z
    .strictObject({
      name: z.string().nullish(),
      layout: z.enum(LAYOUTS).nullish(),
      elementType: z.enum(INPUT_TYPES).nullish(),
      width: side.nullish(),
      height: side.nullish(),
      channels: z.union([z.literal(1), z.literal(3)], 'must be 1 (grey) or 3 (colour)').nullish(),
      colour: z.enum(['grey', 'rgb', 'bgr']).nullish(),
      // Checked with the whole manifest, as is the scaling.
      resize: z.looseObject({}).nullish(),
      scaling: z.looseObject({ kind: z.string() }).nullish(),
      background: z.int().nullish(),
      invert: z.boolean().nullish(),
    })
    .nullish(),
  output: z.strictObject({ name: z.string().nullish(), activation: z.enum(ACTIVATIONS).nullish() }).nullish(),
  classes: z.array(z.string()).nullish(),
});

/** What is known of a model before looking into it. */
export type GivenManifest = z.output<typeof givenSchema>;
type GivenInput = NonNullable<GivenManifest['input']>;

/** What `imagehub model add` takes on its command line in place of a manifest's fields; all of it text. */
export interface ManifestOptions {
  input?: string | undefined;
  layout?: string | undefined;
  size?: string | undefined;
  colour?: string | undefined;
  fit?: string | undefined;
  filter?: string | undefined;
  antialias?: boolean | undefined;
  shorterSide?: string | undefined;
  padding?: string | undefined;
  scale?: string | undefined;
  threshold?: string | undefined;
  mean?: string | undefined;
  std?: string | undefined;
  background?: string | undefined;
  invert?: boolean | undefined;
  output?: string | undefined;
  activation?: string | undefined;
  classes?: string | undefined;
}

/**
 * Checks a manifest that may be incomplete, e.g. parsed JSON.
 * @throws HubError BAD_MODEL that lists every problem with its field
 */
export function parseGiven(value: unknown): GivenManifest {
  const parsed = givenSchema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'manifest'}: ${message}`,
  );
  throw new HubError('BAD_MODEL', `The model’s manifest is wrong:\n  ${problems.join('\n  ')}`, {
    hint: 'Correct the fields named above and register the model again.',
  });
}

/** `over` wins, field by field. */
export function mergeGiven(base: GivenManifest, over: GivenManifest): GivenManifest {
  return {
    input: { ...base.input, ...withoutNulls(over.input) },
    output: { ...base.output, ...withoutNulls(over.output) },
    classes: over.classes ?? base.classes,
  };
}

const withoutNulls = <T extends object>(value: T | null | undefined): Partial<T> =>
  Object.fromEntries(
    Object.entries(value ?? {}).filter(([, field]) => field !== null && field !== undefined),
  ) as Partial<T>;

/** Turns options into the fields they stand for. @throws HubError USAGE */
export function givenByOptions(options: ManifestOptions): GivenManifest {
  const input: GivenInput = {
    ...withoutNulls({
      name: options.input,
      layout: oneOf('--layout', options.layout, LAYOUTS),
      colour: oneOf('--colour', options.colour, ['grey', 'rgb', 'bgr'] as const),
      background: options.background === undefined ? null : numbers('--background', options.background)[0]!,
      resize: resizeOf(options),
      scaling: scalingOf(options),
    }),
    ...(options.invert ? { invert: true } : {}),
    ...sizeOf(options.size),
  };
  if (input.colour) input.channels = input.colour === 'grey' ? 1 : 3;
  return parseGiven({
    input,
    output: { name: options.output, activation: oneOf('--activation', options.activation, ACTIVATIONS) },
    classes: options.classes?.split(',').map((name) => name.trim()),
  });
}

function resizeOf({
  fit,
  filter,
  antialias,
  shorterSide,
  padding,
}: ManifestOptions): Record<string, unknown> | undefined {
  const given = withoutNulls({
    fit: oneOf('--fit', fit ?? (shorterSide ? 'crop' : padding ? 'pad' : undefined), FITS),
    filter: oneOf('--filter', filter, FILTERS),
    shorterSide: shorterSide === undefined ? null : numbers('--shorter-side', shorterSide)[0]!,
    padding: padding === undefined ? null : numbers('--padding', padding)[0]!,
    // Commander's default of an option --no-….
    antialias: antialias === false ? false : null,
  });
  return Object.keys(given).length > 0 ? given : undefined;
}

const SCALES = ['unit', 'none', 'binarise', 'mean-std'] as const;

function scalingOf({ scale, threshold, mean, std }: ManifestOptions): Scaling | undefined {
  const kind =
    oneOf('--scale', scale, SCALES) ?? (mean || std ? 'mean-std' : threshold ? 'binarise' : undefined);
  if (threshold !== undefined && kind !== 'binarise')
    throw new HubError('USAGE', '--threshold is for --scale binarise.');
  if ((mean !== undefined || std !== undefined) && kind !== 'mean-std')
    throw new HubError('USAGE', '--mean and --std are for --scale mean-std.');
  switch (kind) {
    case undefined:
      return undefined;
    case 'binarise':
      return { kind, threshold: threshold === undefined ? 30 : numbers('--threshold', threshold)[0]! };
    case 'mean-std':
      if (mean === undefined || std === undefined) {
        throw new HubError('USAGE', '--scale mean-std needs --mean and --std, a number for each channel.', {
          hint: 'On the 0…1 scale, e.g. --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225',
        });
      }
      return { kind, mean: numbers('--mean', mean), std: numbers('--std', std) };
    case 'unit':
    case 'none':
      return { kind };
  }
}

function oneOf<T extends string>(
  flag: string,
  text: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (text === undefined) return undefined;
  const found = choices.find((choice) => choice.toLowerCase() === text.toLowerCase());
  if (found !== undefined) return found;
  throw new HubError('USAGE', `${flag} ${text} is none of ${choices.join(', ')}.`);
}

function numbers(flag: string, text: string): number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (values.every(Number.isFinite)) return values;
  throw new HubError('USAGE', `${flag} ${text} is not a number, or numbers with commas between.`);
}

function sizeOf(text: string | undefined): { width?: number; height?: number } {
  if (text === undefined) return {};
  const [, width, height] = /^([1-9]\d{0,4})[x×]([1-9]\d{0,4})$/.exec(text) ?? [];
  if (width && height) return { width: Number(width), height: Number(height) };
  throw new HubError('USAGE', `--size ${text} is not a size.`, {
    hint: 'Write width x height: --size 28x28',
  });
}
