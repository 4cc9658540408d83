import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseBackbone } from '../../../classifier/features/backbone.ts';
import { GraphBuilder } from '../../../classifier/onnx/builder.ts';
import { deleteBackbone, getBackbone } from '../../../sql/backbones.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import { encodeGreyPng } from '../../../images/png.ts';
import { SIDE } from '../../support/digits.ts';
import { featureGraph, type FeatureHub, featureHub } from '../../support/feature-hub.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

let hub: FeatureHub;
beforeAll(async () => {
  hub = await featureHub(3);
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
});

const GREY = { scale: 'unit', colour: 'grey' };

/** [N, 1, 8, 8] in; `end` makes the outputs. */
function graph(end: (graph: GraphBuilder, image: string) => void): Uint8Array {
  const builder = new GraphBuilder('any');
  builder.input('image', 'float32', ['N', 1, 8, 8]);
  end(builder, 'image');
  return builder.encode();
}

test('a network is read, run and stored, with how many numbers it gives', async () => {
  const { backbone, notes } = await hub.add('plain', featureGraph(1), { options: GREY, by: 'ada' });
  expect(backbone).toMatchObject({ name: 'plain', features: 64, precision: 'float16', addedBy: 'ada' });
  expect(parseBackbone(backbone.manifest)).toMatchObject({
    input: { name: 'image', layout: 'NCHW', width: 28, height: 28, channels: 1, scaling: { kind: 'unit' } },
    output: { name: 'features' },
  });
  expect(notes).toEqual([]);
  await expect(hub.add('plain', featureGraph(2), { options: GREY })).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
  });
  await expect(hub.add('Plain Words', featureGraph(2), { options: GREY })).rejects.toMatchObject({
    code: 'USAGE',
  });
});

test('what the file does not say is asked for by name', async () => {
  await expect(hub.add('asked', featureGraph(1))).rejects.toMatchObject({
    code: 'BAD_MODEL',
    message: expect.stringMatching(/input\.scaling: [^]*--scale unit/) as unknown,
  });
  const two = graph((builder, image) => {
    for (const name of ['a', 'b']) {
      builder.op('Flatten', [image], { axis: { int: 1 } }, name);
      builder.output(name, 'float32', ['N', 64]);
    }
  });
  await expect(hub.add('asked', two, { options: GREY })).rejects.toMatchObject({
    message: expect.stringMatching(/output\.name: it has several outputs: “a” [^]*--output NAME/) as unknown,
  });
  const { backbone } = await hub.add('second', two, { options: { ...GREY, output: 'b' } });
  expect(backbone.features).toBe(64);
  await expect(hub.add('asked', two, { options: { ...GREY, output: 'c' } })).rejects.toMatchObject({
    message: expect.stringMatching(/no output “c”; it has “a”/) as unknown,
  });
});

describe('an output that is no row of numbers for each image is refused', () => {
  test('feature maps that are not pooled', async () => {
    const maps = graph((builder, image) => {
      builder.op('Relu', [image], {}, 'features');
      builder.output('features', 'float32', ['N', 1, 8, 8]);
    });
    await expect(hub.add('maps', maps, { options: GREY })).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringMatching(/“features” is float32 \[2, 1, 8, 8\]/) as unknown,
      hint: expect.stringMatching(/pooled/) as unknown,
    });
  });

  test('numbers of which there are more or fewer from image to image', async () => {
    const open = graph((builder, image) => {
      // As many numbers as pixels that are not 0, whichever images they are of.
      const rows = builder.op('Transpose', [builder.op('NonZero', [image])], { perm: { ints: [1, 0] } });
      builder.op('Cast', [rows], { to: { int: 1 } }, 'features');
      builder.output('features', 'float32', ['N', 'some']);
    });
    await expect(hub.add('open', open, { options: GREY })).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringMatching(/no row of numbers for each/) as unknown,
    });
  });

  test('too many numbers', async () => {
    const wide = graph((builder, image) => {
      const flat = builder.op('Flatten', [image], { axis: { int: 1 } });
      builder.op('Tile', [flat, builder.tensor('times', [2], BigInt64Array.of(1n, 5000n))], {}, 'features');
      builder.output('features', 'float32', ['N', 'many']);
    });
    await expect(hub.add('wide', wide, { options: GREY })).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringMatching(/320000 numbers for an image are more than/) as unknown,
    });
  });
});

test('one whose numbers are more or fewer as the image is bright or dark gives none where it gives others than at first', async () => {
  // The first 32 pixels, and 32 more where one of the images is bright, as those are that it is tried with.
  const uneven = new GraphBuilder('uneven');
  uneven.input('image', 'float32', ['N', 1, SIDE, SIDE]);
  const flat = uneven.op('Flatten', ['image'], { axis: { int: 1 } });
  const bright = uneven.op('Ceil', [
    uneven.op('Sub', [
      uneven.op('ReduceMax', ['image'], { keepdims: { int: 0 } }),
      uneven.tensor('half', [], Float32Array.of(0.5)),
    ]),
  ]);
  const more = uneven.op('Mul', [
    uneven.op('Cast', [bright], { to: { int: 7 } }),
    uneven.tensor('more', [1], BigInt64Array.of(32n)),
  ]);
  const end = uneven.op('Add', [more, uneven.tensor('least', [1], BigInt64Array.of(32n))]);
  const start = uneven.tensor('start', [1], BigInt64Array.of(0n));
  uneven.op('Slice', [flat, start, end, uneven.tensor('axis', [1], BigInt64Array.of(1n))], {}, 'features');
  uneven.output('features', 'float32', ['N', 'some']);
  const { backbone } = await hub.add('uneven', uneven.encode(), { options: GREY });
  expect(backbone.features).toBe(64);
  const dark = encodeGreyPng(new Uint8Array(SIDE * SIDE).fill(9), SIDE, SIDE);
  await hub.pool.query(`update digits set image_base64 = $1, sha256 = sha256($2)`, [
    dark.toString('base64'),
    dark,
  ]);
  expect(await hub.compute('uneven')).toMatchObject({ state: 'done', counts: { images: 3, failed: 3 } });
  const { rows } = await hub.pool.query(
    'select vector, error from imagehub.features where backbone_id = $1',
    [backbone.id],
  );
  for (const row of rows) {
    expect(row).toMatchObject({
      vector: null,
      error: expect.stringMatching(
        /has no fixed size: it gave 64 numbers for an image, and now 32/,
      ) as unknown,
    });
  }
  // What can be trained on then is nothing, which is said with the reason.
  await expect(
    trainDataset({ pool: hub.pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'digits', {
      backbone: 'uneven',
    }),
  ).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(
      /uneven failed on all 3 labelled images in digits; d\/0: .*no fixed size/,
    ) as unknown,
  });
});

test('deleting one drops the features that it gave', async () => {
  const { id } = await hub.backbone('gone', 3);
  await hub.compute('gone');
  expect((await hub.pool.query('select from imagehub.features where backbone_id = $1', [id])).rowCount).toBe(
    3,
  );
  await deleteBackbone(hub.pool, 'gone');
  expect((await hub.pool.query('select from imagehub.features where backbone_id = $1', [id])).rowCount).toBe(
    0,
  );
  await expect(getBackbone(hub.pool, 'gone')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(hub.compute('gone')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
