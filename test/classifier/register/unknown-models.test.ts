import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { cp, truncate } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { tryModel } from '../../../classifier/register/try-model.ts';
import { readSample } from '../../../classifier/register/sample.ts';
import { addModel, type AddedModel } from '../../../classifier/register/add-model.ts';
import type { ManifestOptions } from '../../../classifier/register/given.ts';
import { ModelMessage } from '../../../classifier/onnx/schema.ts';
import type { ManifestDraft } from '../../../classifier/manifest.ts';
import type { HubError } from '../../../errors.ts';
import { createDataset } from '../../../sql/datasets.ts';
import { listModels } from '../../../sql/models.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { linearGraph, type LinearGraph } from '../../support/linear-graph.ts';
import { isolatedChildren } from '../../support/isolated-children.ts';
import { until } from '../../support/pipeline.ts';
import { freshDatabase, type TestDatabase } from '../../support/servers.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const exported = (name: string) => fileURLToPath(new URL(`../models/${name}`, import.meta.url));

interface Hub extends AsyncDisposable {
  db: TestDatabase;
  /** Registers a file, or a graph. */
  add: (
    what: string | LinearGraph | Uint8Array,
    options?: ManifestOptions,
    manifest?: unknown,
  ) => Promise<AddedModel>;
  /** Why it is not registered; nothing is. */
  refusal: (
    what: string | LinearGraph | Uint8Array,
    options?: ManifestOptions,
    manifest?: unknown,
  ) => Promise<{ code: string; text: string }>;
}

/** A dataset, digits in it. */
async function hub({ images = 8, classes = [...'0123456789'] } = {}): Promise<Hub> {
  const db = await freshDatabase();
  const folder = await temporaryFolder();
  await createDataset(db.pool, { name: 'digits', classes });
  if (images > 0) await insertDigits(db.pool, 'digits', { from: 0, count: images, folder: 'a' });
  const add: Hub['add'] = async (what, options = {}, manifest) => {
    const bytes = what instanceof Uint8Array ? what : typeof what === 'string' ? null : linearGraph(what);
    const file = bytes ? await folder.write('model.onnx', bytes) : (what as string);
    return addModel({ pool: db.pool, maxPixels: 1e6 }, { dataset: 'digits', file, options, manifest });
  };
  return {
    db,
    add,
    async refusal(what, options, manifest) {
      const error = await add(what, options, manifest).then(
        () => new Error('The model was registered.'),
        (reason: unknown) => reason as HubError,
      );
      expect(await listModels(db.pool, 'digits')).toEqual([]);
      const { code = '', hint = '' } = error as Partial<HubError>;
      return { code, text: `${error.message}\n${hint}` };
    },
    async [Symbol.asyncDispose]() {
      await folder[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

describe('what stands in no file is asked for', () => {
  test('by name, with the options that say it, what each would reach, and the manifest so far', async () => {
    await using it = await hub({ images: 60 });
    const { code, text } = await it.refusal(exported('sklearn-mlp.onnx'));
    expect(code).toBe('BAD_MODEL');
    expect(text).toContain(
      'not known is:\n  input.scaling: a file does not say how pixels 0…255 become its numbers',
    );
    expect(text).toContain('--scale unit (x / 255)');
    expect(text).toMatch(
      /Tried on 60 labelled images \(accuracy\):\n {2}(1\.000|0\.9\d\d) {2}--scale unit\n/,
    );
    const draft = JSON.parse(/^\{[^]*^\}/m.exec(text)![0]) as ManifestDraft;
    expect(draft).toMatchObject({
      input: { name: 'X', layout: 'flat', width: 28, height: 28, channels: 1, colour: 'grey', scaling: null },
      output: { name: 'probabilities', activation: 'none' },
      classes: [...'0123456789'],
    });
    // Completed, the draft is a manifest.
    const completed = { ...draft, input: { ...draft.input, scaling: { kind: 'unit' } } };
    expect(await it.add(exported('sklearn-mlp.onnx'), {}, completed)).toMatchObject({ existed: false });
  });

  test('the order of colours, where it takes three', async () => {
    await using it = await hub();
    const shape = ['N', 3, 28, 28];
    const end: LinearGraph['end'] = (graph, logits) => {
      const three = graph.op('Reshape', [logits, graph.tensor('three', [2], BigInt64Array.of(-1n, 30n))]);
      const ten = graph.op('Slice', [
        three,
        graph.tensor('from', [1], BigInt64Array.of(0n)),
        graph.tensor('to', [1], BigInt64Array.of(10n)),
        graph.tensor('axis', [1], BigInt64Array.of(1n)),
      ]);
      graph.op('Softmax', [ten], { axis: { int: 1 } }, 'scores');
      graph.output('scores', 'float32', ['N', 10]);
    };
    const { text } = await it.refusal({ input: { shape }, end }, { scale: 'unit' });
    expect(text).toContain('not known is:\n  input.colour: a file does not say in which order it takes red');
    expect(text).toContain('--colour rgb or bgr');
    const { manifest } = await it.add({ input: { shape }, end }, { scale: 'unit', colour: 'bgr' });
    expect(manifest.input).toMatchObject({ layout: 'NCHW', channels: 3, colour: 'bgr' });
  });

  test('the layout and size, where the file leaves every dimension open', async () => {
    await using it = await hub({ images: 0 });
    const open: LinearGraph = { input: { shape: ['N', 'a', 'b', 'c'] } };
    const { text } = await it.refusal(open, { scale: 'unit' });
    expect(text).toContain(
      'not known is:\n  input.layout: its input is “image” float32 [N, a, b, c], which can be read either way',
    );
    const { text: less } = await it.refusal(open, { scale: 'unit', layout: 'NHWC', colour: 'grey' });
    expect(less).toContain('not known is:\n  input.width, input.height');
    const options = { scale: 'unit', layout: 'NHWC', colour: 'grey', size: '28x28' };
    expect((await it.add(open, options)).manifest.input).toMatchObject({
      layout: 'NHWC',
      width: 28,
      height: 28,
    });
  });

  test('not the size, where the dataset’s images have one', async () => {
    await using it = await hub();
    const { manifest, notes } = await it.add(
      { input: { shape: ['N', 1, 'height', 'width'] } },
      { scale: 'unit' },
    );
    expect(manifest.input).toMatchObject({ layout: 'NCHW', width: 28, height: 28 });
    expect(notes).toContainEqual(expect.stringContaining('28 × 28 as the dataset’s images'));
  });

  test('which of two outputs has the scores', async () => {
    await using it = await hub();
    const end: LinearGraph['end'] = (graph, logits) => {
      for (const name of ['first', 'second']) {
        graph.op('Softmax', [logits], { axis: { int: 1 } }, name);
        graph.output(name, 'float32', ['N', 10]);
      }
    };
    const { text } = await it.refusal({ end }, { scale: 'unit' });
    expect(text).toContain(
      'output.name: it has several outputs that may hold scores: “first” float32 [N, 10], “second”',
    );
    expect((await it.add({ end }, { scale: 'unit', output: 'second' })).manifest.output.name).toBe('second');
  });
});

describe('classes are taken by name, or asked for, never shifted', () => {
  test('names in the file, in another order than the dataset’s', async () => {
    await using it = await hub({ classes: ['cat', 'dog', 'owl'], images: 0 });
    const { manifest } = await it.add(
      { classes: 3, metadata: { names: "{0: 'owl', 1: 'cat', 2: 'dog'}" } },
      { scale: 'unit' },
    );
    expect(manifest.classes).toEqual(['owl', 'cat', 'dog']);
  });

  test('names in the file that the dataset does not have', async () => {
    await using it = await hub({ classes: ['cat', 'dog', 'owl'], images: 0 });
    const model: LinearGraph = { classes: 3, metadata: { classes: '["cat", "dog", "fox"]' } };
    const { text } = await it.refusal(model, { scale: 'unit' });
    expect(text).toContain(
      'classes: the file calls its classes cat, dog, fox (its metadata “classes”); the dataset’s are cat, dog, owl',
    );
    expect((await it.add(model, { scale: 'unit', classes: 'cat,dog,owl' })).manifest.classes).toEqual([
      'cat',
      'dog',
      'owl',
    ]);
  });

  test('another number of scores than the dataset has classes', async () => {
    await using it = await hub();
    const { text } = await it.refusal({ classes: 7 }, { scale: 'unit' });
    expect(text).toContain('classes: it gives 7 scores; the dataset’s are 0, 1, 2');
    const { text: unknown } = await it.refusal({ classes: 7 }, { scale: 'unit', classes: '0,1,2,3,4,5,ten' });
    expect(unknown).toContain('classes that the dataset does not have: ten');
    const { text: fewer } = await it.refusal({ classes: 7 }, { scale: 'unit', classes: '0,1,2' });
    expect(fewer).toContain(
      'its output is "scores" float32 [N, 7], the manifest says "scores" float32 [N, 3]',
    );
    const { manifest } = await it.add({ classes: 7 }, { scale: 'unit', classes: '9,8,7,6,5,4,3' });
    expect(manifest.classes).toEqual([...'9876543']);
  });

  test('numbers that a model was trained with are the dataset’s indexes, and that is said', async () => {
    await using it = await hub({ classes: ['nought', ...'123456789'], images: 0 });
    const { manifest, notes } = await it.add(exported('sklearn-mlp.onnx'), { scale: 'unit' });
    expect(manifest.classes).toEqual(['nought', ...'123456789']);
    expect(notes).toContainEqual(expect.stringContaining('are taken for class indexes: nought, 1'));
  });
});

describe('what comes out is understood', () => {
  test('one number per image, in [N] too, is a class of two', async () => {
    await using it = await hub({ classes: ['no', 'yes'], images: 0 });
    const end: LinearGraph['end'] = (graph, logits) => {
      const one = graph.op('Reshape', [logits, graph.tensor('one', [1], BigInt64Array.of(-1n))]);
      graph.op('Identity', [one], {}, 'scores');
      graph.output('scores', 'float32', ['N']);
    };
    const { manifest } = await it.add({ classes: 1, end }, { scale: 'unit' });
    expect(manifest).toMatchObject({ output: { activation: 'sigmoid' }, classes: ['no', 'yes'] });
    expect(
      (await it.add({ classes: 1, end }, { scale: 'unit', classes: 'yes,no' })).manifest.classes,
    ).toEqual(['yes', 'no']);
  });

  test('float64 in and out', async () => {
    await using it = await hub();
    const end: LinearGraph['end'] = (graph, logits) => {
      graph.op('Softmax', [graph.op('Cast', [logits], { to: { int: 11 } })], { axis: { int: 1 } }, 'scores');
      graph.output('scores', 'float64', ['N', 10]);
    };
    const { manifest } = await it.add({ input: { elementType: 'float64' }, end }, { scale: 'unit' });
    expect(manifest.input.elementType).toBe('float64');
  });

  test('a fixed batch of another size than 1', async () => {
    await using it = await hub({ images: 30 });
    const end: LinearGraph['end'] = (graph, logits) => {
      graph.op('Softmax', [logits], { axis: { int: 1 } }, 'scores');
      graph.output('scores', 'float32', [4, 10]);
    };
    expect(await it.add({ input: { shape: [4, 28, 28, 1] }, end }, { scale: 'unit' })).toMatchObject({
      manifest: { input: { layout: 'NHWC' } },
      sample: { images: 30 },
    });
  });

  test.each<[string, LinearGraph, RegExp]>([
    [
      'labels alone',
      {
        end: (graph, logits) => {
          graph.op('ArgMax', [logits], { axis: { int: 1 }, keepdims: { int: 0 } }, 'label');
          graph.output('label', 'int64', ['N']);
        },
      },
      /gives no scores: its outputs are “label” int64 \[N\][^]*"zipmap": False/,
    ],
    [
      'classes that do not exclude each other',
      {
        end: (graph, logits) => {
          graph.op('Sigmoid', [logits], {}, 'scores');
          graph.output('scores', 'float32', ['N', 10]);
        },
      },
      /ends in Sigmoid, but its scores of an image do not add up to 1/,
    ],
    [
      'a softmax over the images',
      {
        end: (graph, logits) => {
          graph.op('Softmax', [logits], { axis: { int: 0 } }, 'scores');
          graph.output('scores', 'float32', ['N', 10]);
        },
      },
      /ends in Softmax, but its scores of an image do not add up to 1[^]*over another dimension/,
    ],
    [
      'whole numbers as input',
      { input: { elementType: 'int64' } },
      /input is “image” int64 \[N, 784\]; images can be given as float32/,
    ],
    ['two channels', { input: { shape: ['N', 2, 28, 14] } }, /\[N, 2, 28, 14\], which is no batch of images/],
    ['no batch', { input: { shape: [784] } }, /\[784\], which is no batch of images/],
    ['five dimensions', { input: { shape: ['N', 1, 1, 28, 28] } }, /which is no batch of images/],
    [
      'a size that its weights are not for',
      { input: { shape: ['N', 1, 28, 27] } },
      /fails on images as float32 \[8, 1, 27, 28\]|fails on images as float32 \[8, 1, 28, 27\]/,
    ],
  ])('%s: refused', async (_, model, message) => {
    await using it = await hub();
    const { code, text } = await it.refusal(model, { scale: 'unit' });
    expect({ code, text }).toMatchObject({ code: 'BAD_MODEL', text: expect.stringMatching(message) });
  });
});

describe('broken and huge files are refused', () => {
  test('no file, a folder, a text, a file cut short, one of 300 MB', async () => {
    await using it = await hub();
    await using folder = await temporaryFolder();
    expect(await it.refusal(folder.at('nothing.onnx'))).toMatchObject({ code: 'BAD_FILE' });
    expect(await it.refusal(folder.path)).toMatchObject({
      code: 'BAD_FILE',
      text: expect.stringContaining('is no file'),
    });
    expect((await it.refusal(Buffer.from('hello, I am no model'))).text).toContain('Not an ONNX file');
    expect((await it.refusal(linearGraph().subarray(0, 20_000))).text).toMatch(
      /Not an ONNX file|cannot load the model/,
    );
    const huge = await folder.write('huge.onnx', '');
    await truncate(huge, 300e6);
    expect(await it.refusal(huge)).toMatchObject({
      code: 'BAD_MODEL',
      text: expect.stringContaining('has 287 MiB; a model may have 250 MiB'),
    });
  });

  test('one that takes batches of two billion images, and one in a language of the future', async () => {
    await using it = await hub();
    const { code, text } = await it.refusal({ input: { shape: [2_000_000_000, 784] } }, { scale: 'unit' });
    expect(code).toBe('BAD_MODEL');
    expect(text).toContain('takes batches of 2000000000 images, too many');
    const message = ModelMessage.decode(linearGraph()) as unknown as { opsetImport: { version: number }[] };
    message.opsetImport[0]!.version = 99;
    const future = await it.refusal(ModelMessage.encode(message).finish(), { scale: 'unit' });
    expect(future.code).toBe('BAD_MODEL');
    expect(future.text).toMatch(/opset 99/i);
  });

  test('stored images that are too many megabytes for one look', async () => {
    await using it = await hub();
    const { pool } = it.db;
    const whole = await readSample(pool, 'digits', 8);
    expect(whole.images).toHaveLength(8);
    const [first, second, third] = whole.images.map(({ bytes }) => bytes.toString('base64').length);
    const cut = await readSample(pool, 'digits', 8, first! + second! + third! - 1);
    expect(cut.images).toEqual(whole.images.slice(0, 2));
  });

  test('one that would take images of 16 billion numbers', async () => {
    await using it = await hub();
    const { text } = await it.refusal(
      { input: { shape: ['N', 3, 16_000, 16_000] } },
      { scale: 'unit', colour: 'rgb' },
    );
    expect(text).toContain('input.width: and height make 768000000 numbers, more than 67108864');
  });

  test('one that ends the process, or never comes back, does so in a process of its own', async () => {
    await using it = await hub();
    const onnx = linearGraph();
    await expect(tryModel({ onnx, run: null }, 1)).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining('it did not come back within 0.001 s'),
    });
    // That one is being ended; the next is another.
    await until(() => Promise.resolve(isolatedChildren('try-model-child').length === 0), 'it has ended');
    const refused = it.refusal({}, { scale: 'unit' });
    await until(
      () => {
        // As native code that crashes, or the kernel where memory runs out.
        const children = isolatedChildren('try-model-child');
        for (const pid of children) process.kill(pid, 'SIGKILL');
        return Promise.resolve(children.length > 0);
      },
      'the model is tried',
      90_000,
      10,
    );
    expect(await refused).toMatchObject({
      code: 'BAD_MODEL',
      text: expect.stringContaining('it ended the process (SIGKILL)'),
    });
  });

  test('weights beside it that are not there, or cut short', async () => {
    await using it = await hub();
    await using folder = await temporaryFolder();
    const alone = folder.at('torch-conv.onnx');
    await cp(exported('torch-conv.onnx'), alone);
    expect(await it.refusal(alone)).toMatchObject({
      code: 'BAD_FILE',
      text: expect.stringMatching(/torch-conv\.onnx\.data[^]*external_data=False/),
    });
    await folder.write('torch-conv.onnx.data', 'short');
    expect(await it.refusal(alone)).toMatchObject({
      code: 'BAD_MODEL',
      text: expect.stringContaining('ends before the weights do'),
    });
  });

  test('weights that are said to lie elsewhere on the machine', async () => {
    await using it = await hub();
    const bytes = readFileSync(exported('torch-conv.onnx')).toString('latin1');
    const elsewhere = bytes.replaceAll('torch-conv.onnx.data', '../../../../etc/pass');
    expect(elsewhere).not.toBe(bytes);
    expect(await it.refusal(Buffer.from(elsewhere, 'latin1'))).toMatchObject({
      code: 'BAD_MODEL',
      text: expect.stringContaining('lie in “../../../../etc/pass”, which is no file beside the model'),
    });
  });
});

test('the same file with the same manifest is the same model; another manifest makes another', async () => {
  await using it = await hub();
  const first = await it.add({}, { scale: 'unit' });
  expect(await it.add({}, { scale: 'unit' })).toMatchObject({ model: first.model, existed: true });
  const both = await Promise.all([it.add({}, { scale: 'none' }), it.add({}, { scale: 'none' })]);
  expect(new Set(both.map(({ model }) => model)).size).toBe(1);
  expect(both.map(({ existed }) => existed).sort()).toEqual([false, true]);
  expect(await listModels(it.db.pool, 'digits')).toHaveLength(2);
});

test('a model that is often wrong is registered, and what would do better is said', async () => {
  await using it = await hub({ images: 60 });
  // 0…1 where it was trained on 0…255: it sees little but paper.
  const { sample, better } = await it.add(exported('sklearn-forest.onnx'), { scale: 'unit' });
  expect(sample!.accuracy).toBeLessThan(0.5);
  expect(better[0]).toMatchObject({ options: '--scale none' });
  expect(better[0]!.accuracy).toBeGreaterThan(0.7);
  expect((await it.add(exported('sklearn-forest.onnx'), { scale: 'none' })).better).toEqual([]);
});

test('a model whose classes are named in a wrong order is told from guessing no better', async () => {
  await using it = await hub({ images: 60 });
  const mlp = exported('sklearn-mlp.onnx');
  const shifted = await it.add(mlp, { scale: 'unit', classes: '1,2,3,4,5,6,7,8,9,0' });
  expect(shifted.sample).toMatchObject({ images: 60, nearChance: true });
  expect((await it.add(mlp, { scale: 'unit' })).sample).toMatchObject({ nearChance: false });
  // Too few images to say anything.
  await it.db.pool.query(`update digits set known_label = null where id > 'a/2'`);
  expect((await it.add(mlp, { scale: 'unit', invert: true })).sample).toBeNull();
});
