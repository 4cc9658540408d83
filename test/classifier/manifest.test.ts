import { describe, expect, test } from '@jest/globals';
import { inputShape, parseManifest, scaleTable } from '../../classifier/manifest.ts';
import type { ManifestDraft } from '../../classifier/manifest.ts';
import { HubError } from '../../errors.ts';

const draft = (input: Partial<ManifestDraft['input']> = {}): ManifestDraft => ({
  input: {
    name: 'x',
    layout: 'NCHW',
    width: 32,
    height: 24,
    channels: 3,
    colour: 'rgb',
    scaling: { kind: 'unit' },
    ...input,
  },
  output: { name: 'p', activation: 'none' },
  classes: ['cat', 'dog'],
});

function problemsOf(value: unknown): string {
  try {
    parseManifest(value);
  } catch (error) {
    expect(error).toBeInstanceOf(HubError);
    expect((error as HubError).code).toBe('BAD_MODEL');
    return (error as HubError).message;
  }
  throw new Error('The manifest was accepted.');
}

describe('parseManifest', () => {
  test('fills in what is usual: float32, white background, no inversion, threshold 30', () => {
    const { input } = parseManifest(draft({ scaling: { kind: 'binarise' } }));
    expect(input).toMatchObject({ elementType: 'float32', background: 255, invert: false });
    expect(input.scaling).toEqual({ kind: 'binarise', threshold: 30 });
  });

  test('lists every problem with the field it is in', () => {
    const message = problemsOf({
      input: { ...draft().input, width: 0, layout: 'CHW', size: 3 },
      output: { name: '', activation: 'relu' },
      classes: ['cat', 'cat'],
    });
    for (const field of [
      'input.width',
      'input.layout',
      'size',
      'output.name',
      'output.activation',
      'classes',
    ]) {
      expect(message).toContain(field);
    }
    expect(message).toContain('names cat more than once');
  });

  test('refuses what is not an object, or has fields missing', () => {
    expect(problemsOf('mlp.onnx')).toContain('manifest');
    expect(problemsOf({})).toMatch(/input.*output.*classes/s);
  });

  test('refuses a colour order that contradicts the channels', () => {
    expect(problemsOf(draft({ channels: 1 }))).toContain('input.colour: is rgb');
    expect(problemsOf(draft({ colour: 'grey' }))).toContain('grey has 1, rgb and bgr have 3');
  });

  test('refuses fractions in a uint8 input', () => {
    expect(problemsOf(draft({ elementType: 'uint8' }))).toContain('uint8');
    expect(parseManifest(draft({ elementType: 'uint8', scaling: { kind: 'none' } })).input.elementType).toBe(
      'uint8',
    );
  });

  test('refuses mean and std of the wrong length or on the 0…255 scale', () => {
    expect(problemsOf(draft({ scaling: { kind: 'mean-std', mean: [0.5], std: [0.5, 0.5, 0.5] } }))).toContain(
      'input.scaling.mean: has 1 values, but the input has 3 channels',
    );
    expect(
      problemsOf(draft({ scaling: { kind: 'mean-std', mean: [123.7, 116.3, 103.5], std: [58, 57, 57] } })),
    ).toContain('divide by 255');
  });
});

describe('inputShape', () => {
  test('is as the layout says', () => {
    expect(inputShape(parseManifest(draft()).input, 5)).toEqual([5, 3, 24, 32]);
    expect(inputShape(parseManifest(draft({ layout: 'NHWC' })).input, 5)).toEqual([5, 24, 32, 3]);
    expect(inputShape(parseManifest(draft({ layout: 'flat' })).input, 5)).toEqual([5, 2304]);
  });
});

describe('scaleTable', () => {
  test('binarises above the threshold, not at it', () => {
    const table = scaleTable({ kind: 'binarise', threshold: 30 });
    expect([table[0], table[30], table[31], table[255]]).toEqual([0, 0, 1, 1]);
  });

  test('scales to 0…1, by mean and std of the channel, or not at all', () => {
    expect(scaleTable({ kind: 'unit' })[255]).toBe(1);
    expect(scaleTable({ kind: 'none' })[200]).toBe(200);
    const scaling = { kind: 'mean-std' as const, mean: [0, 0.5], std: [1, 0.25] };
    expect(scaleTable(scaling, 1)[255]).toBeCloseTo(2, 6);
  });

  test('inverts the polarity before scaling', () => {
    expect(scaleTable({ kind: 'unit' }, 0, true)[0]).toBe(1);
    expect(scaleTable({ kind: 'binarise', threshold: 30 }, 0, true)[250]).toBe(0);
  });
});
