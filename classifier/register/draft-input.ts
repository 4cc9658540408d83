import { HubError } from '../../errors.ts';
import { DEFAULT_RESIZE, INPUT_TYPES, type ManifestInput } from '../manifest.ts';
import type { DescribedValue, ModelDescription } from '../onnx/describe.ts';
import { asWritten, type Draft, type DraftContext } from './draft.ts';

type Dimension = number | string | undefined;

/**
 * Fills in what a model's declared input says of a manifest's input: name, element type, layout, size, channels. What it
 * does not say is taken from what is given or from the dataset's images, or noted as missing.
 * @throws HubError BAD_MODEL when no manifest could describe it
 */
export function draftInput({ inputs }: ModelDescription, context: DraftContext): Draft['input'] {
  const given = context.given.input ?? {};
  const value = chooseInput(inputs, given.name);
  const elementType = checkType(value);
  const layout = given.layout ?? layoutOf(value, context);
  const declared = dimensionsOf(value, layout);
  const colourChannels = given.colour ? (given.colour === 'grey' ? 1 : 3) : undefined;
  let channels = given.channels ?? colourChannels ?? channelsOf(value, declared.channels);
  let size = sizeOf(given, declared);
  if (layout === 'flat' && (!size || channels === undefined)) {
    const found = unfold(numeric(declared.numbers), size, channels, context);
    size = found?.size ?? size;
    channels ??= found?.channels;
  }
  if (layout && !size) {
    size = context.facts.size ?? undefined;
    if (size) {
      context.notes.push(
        `its size is not fixed in the file: ${size.width} × ${size.height} as the dataset’s images (else --size)`,
      );
    } else {
      context.missing.push({
        field: 'input.width, input.height',
        why: `its input is ${asWritten(value)}, which leaves open what images are resized to`,
        option: '--size WIDTHxHEIGHT',
      });
    }
  }
  if (layout === 'NHW') channels ??= 1;
  const colour = given.colour ?? (channels === 1 ? 'grey' : undefined);
  if (layout && !colour) {
    context.missing.push({
      field: 'input.colour',
      why:
        channels === 3
          ? 'a file does not say in which order it takes red, green and blue'
          : 'its input leaves open how many channels it takes',
      option: channels === 3 ? '--colour rgb or bgr' : '--colour grey, rgb or bgr',
    });
  }
  const scaling =
    (given.scaling as ManifestInput['scaling'] | undefined | null) ??
    (elementType === 'uint8' ? { kind: 'none' as const } : undefined);
  if (!scaling) {
    context.missing.push({
      field: 'input.scaling',
      why: 'a file does not say how pixels 0…255 become its numbers',
      option:
        '--scale unit (x / 255), none (0…255), binarise (1 where x > --threshold, 30 unless given), or mean-std with --mean and --std',
    });
  }
  return {
    name: value.name,
    layout: layout ?? null,
    elementType: given.elementType ?? elementType,
    width: size?.width ?? null,
    height: size?.height ?? null,
    channels: channels ?? null,
    colour: colour ?? null,
    resize: { ...DEFAULT_RESIZE, ...given.resize },
    scaling: scaling ?? null,
    background: given.background ?? context.facts.background,
    invert: given.invert ?? false,
  };
}

function chooseInput(inputs: DescribedValue[], name: string | null | undefined): DescribedValue {
  const names = inputs.map((value) => value.name).join(', ');
  const value = name ? inputs.find((each) => each.name === name) : inputs[0];
  if (!value) {
    const message = name ? `The model has no input “${name}”; it has ${names}.` : 'The model has no input.';
    throw new HubError('BAD_MODEL', message);
  }
  if (inputs.length > 1) {
    throw new HubError(
      'BAD_MODEL',
      `The model needs ${inputs.length} inputs (${names}), which a classifier of images has not.`,
      {
        hint: 'Export it with the image as its only input; with skl2onnx that is one FloatTensorType([None, PIXELS]).',
      },
    );
  }
  return value;
}

function checkType(value: DescribedValue): ManifestInput['elementType'] {
  const found = INPUT_TYPES.find((type) => type === value.elementType);
  if (found) return found;
  throw new HubError(
    'BAD_MODEL',
    `The model’s input is ${asWritten(value)}; images can be given as ${INPUT_TYPES.join(', ')}.`,
    { hint: 'Export it with a float32 input.' },
  );
}

/** @throws HubError BAD_MODEL for a number of dimensions that no batch of images has */
function layoutOf(value: DescribedValue, { missing }: DraftContext): ManifestInput['layout'] | undefined {
  const { shape } = value;
  const ask = (why: string) => {
    missing.push({ field: 'input.layout', why, option: '--layout NCHW, NHWC, NHW or flat' });
    return undefined;
  };
  switch (shape.length) {
    case 0:
      return ask('its input declares no shape');
    case 2:
      return 'flat';
    case 3:
      if (shape[0] !== 3) return 'NHW';
      return ask(
        `its input is ${asWritten(value)}: three grey images at once (NHW), or a colour image that lacks the batch dimension, which it must have`,
      );
    case 4: {
      const [first, last] = [isChannels(shape[1]), isChannels(shape[3])];
      if (first !== last) return first ? 'NCHW' : 'NHWC';
      const [openFirst, openLast] = [typeof shape[1] === 'string', typeof shape[3] === 'string'];
      if (!first && openFirst !== openLast) return openFirst ? 'NCHW' : 'NHWC';
      if (!first && !openFirst) break;
      return ask(`its input is ${asWritten(value)}, which can be read either way`);
    }
  }
  throw new HubError('BAD_MODEL', `The model’s input is ${asWritten(value)}, which is no batch of images.`, {
    hint: 'It takes [N, C, H, W], [N, H, W, C], [N, H, W] or [N, numbers], with 1 channel or 3.',
  });
}

const isChannels = (dimension: Dimension): boolean => dimension === 1 || dimension === 3;

/** @throws HubError BAD_MODEL for a number of channels that no image has */
function channelsOf(value: DescribedValue, dimension: Dimension): 1 | 3 | undefined {
  if (typeof dimension !== 'number') return undefined;
  if (dimension === 1 || dimension === 3) return dimension;
  throw new HubError(
    'BAD_MODEL',
    `The model’s input is ${asWritten(value)}: ${dimension} channels, and images have 1 or 3.`,
  );
}

const numeric = (dimension: Dimension): number | undefined =>
  typeof dimension === 'number' ? dimension : undefined;

interface Dimensions {
  width?: Dimension;
  height?: Dimension;
  channels?: Dimension;
  /** Flat: all of them together. */
  numbers?: Dimension;
}

function dimensionsOf({ shape }: DescribedValue, layout: ManifestInput['layout'] | undefined): Dimensions {
  const [, a, b, c] = shape;
  switch (layout) {
    case 'NCHW':
      return { channels: a, height: b, width: c };
    case 'NHWC':
      return { height: a, width: b, channels: c };
    case 'NHW':
      return { height: a, width: b };
    case 'flat':
      return { numbers: a };
    case undefined:
      return {};
  }
}

interface Size {
  width: number;
  height: number;
}

function sizeOf(
  given: { width?: number | null | undefined; height?: number | null | undefined },
  declared: Dimensions,
): Size | undefined {
  const width = given.width ?? numeric(declared.width);
  const height = given.height ?? numeric(declared.height);
  return width && height ? { width, height } : undefined;
}

const EITHER = [1, 3] as const;

/** What `numbers` flat values can be: grey or colour, of the size of the dataset's images, or square. */
function unfold(
  numbers: number | undefined,
  size: Size | undefined,
  channels: 1 | 3 | undefined,
  { facts, notes }: DraftContext,
): { size: Size; channels: 1 | 3 } | undefined {
  if (numbers === undefined) return undefined;
  for (const count of channels === undefined ? EITHER : [channels]) {
    const area = numbers / count;
    for (const each of [size, size ? null : facts.size]) {
      if (each && each.width * each.height === area) return { size: each, channels: count };
    }
  }
  if (size) return undefined;
  for (const count of channels === undefined ? EITHER : [channels]) {
    const side = Math.sqrt(numbers / count);
    if (Number.isInteger(side)) {
      notes.push(
        `its ${numbers} inputs are read as ${side} × ${side} with ${count} ${count === 1 ? 'channel' : 'channels'} (else --size and --colour)`,
      );
      return { size: { width: side, height: side }, channels: count };
    }
  }
  return undefined;
}
