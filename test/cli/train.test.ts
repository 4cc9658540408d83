import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { heldOut } from '../../classifier/train/train.ts';
import { listModels } from '../../sql/models.ts';
import { listRuns } from '../../sql/runs.ts';
import { insertDigits } from '../support/digit-rows.ts';
import { featureGraph } from '../support/feature-hub.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { imagehub, startImagehub } from '../support/imagehub.ts';
import { freshDatabase } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const QUICK = ['--hidden', '16', '--epochs', '1'];

/** A dataset with labelled digits, and the command line on it. */
async function digitsHub() {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 200 });
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  return {
    pool: db.pool,
    env,
    run: (args: string[], cwd?: string) => imagehub(args, { env, ...(cwd ? { cwd } : {}) }),
    async json(...args: string[]): Promise<Record<string, unknown>> {
      const { status, stdout, stderr } = await imagehub([...args, '--json'], { env });
      expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout) as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

test('train on a backbone’s features computes those that are missing, with any seed, and of a sample no more', async () => {
  await using hub = await digitsHub();
  await using folder = await temporaryFolder();
  const file = await folder.write('noise.onnx', featureGraph(1));
  await hub.json('backbone', 'add', 'noise', file, '--scale', 'unit', '--colour', 'grey');
  const train = ['train', 'mnist', '--backbone', 'noise', '--epochs', '1', '--seed', '3'];
  const part = await hub.json(...train, '--sample', '0.25', '--by-class');
  expect(part).toMatchObject({ images: 50, parameters: { backbone: 'noise', seed: 3 } });
  const computed = () => hub.pool.query('select from imagehub.features');
  expect((await computed()).rowCount).toBe(50);
  expect(await hub.json(...train)).toMatchObject({ images: 200, parameters: { seed: 3, sample: null } });
  expect((await computed()).rowCount).toBe(200);
});

test('a class of one image that is kept out for validation is named, and one that is trained on is not', async () => {
  await using hub = await digitsHub();
  await hub.pool.query(`delete from mnist where known_label = 9 and id <> 'train/9'`);
  const { rows } = await hub.pool.query<{ id: string }>('select id from mnist order by dataset, id');
  const place = rows.findIndex(({ id }) => id === 'train/9');
  const seeds = Array.from({ length: 50 }, (_, seed) => seed);
  const isHeld = (seed: number) => heldOut(rows.length, { seed, validationSplit: 0.5 }).includes(place);
  const train = ['train', 'mnist', ...QUICK, '--validation', '0.5', '--seed'];
  const lost = await hub.run([...train, String(seeds.find(isHeld)), '--json']);
  expect(lost.status).toBe(0);
  expect(lost.stderr).toMatch(
    /All images of 9 were kept out for validation.*--validation 0 or another --seed/,
  );
  expect(JSON.parse(lost.stdout)).toMatchObject({
    parameters: { imagesPerClass: { 9: 1 }, heldOutClasses: ['9'] },
  });
  const seen = await hub.json(...train, String(seeds.find((seed) => !isHeld(seed))));
  expect(seen).toMatchObject({ parameters: { imagesPerClass: { 9: 1 }, heldOutClasses: [] } });
});

test('train, promote and roll back, as scripts read them', async () => {
  await using hub = await digitsHub();
  const trained = await hub.json('train', 'mnist', ...QUICK, '--validation', '0.1', '--seed', '3');
  expect(trained).toMatchObject({
    model: 1,
    run: 1,
    dataset: 'mnist',
    images: 200,
    parameters: { hidden: [16], epochs: 1, seed: 3, validationSplit: 0.1, batch: 128, sizes: [784, 16, 10] },
    metrics: { trainingImages: 180, validationImages: 20, history: [{ epoch: 1 }] },
  });
  expect(trained).not.toHaveProperty('promotion');
  const promoted = await hub.json(
    'train',
    'mnist',
    ...QUICK,
    '--promote',
    '--size',
    '14x14',
    '--limit',
    '150',
  );
  expect(promoted).toMatchObject({
    model: 2,
    parameters: { sizes: [196, 16, 10], images: 150 },
    promotion: { model: 2, promotionNo: 1, previousModel: null, changed: true },
  });
  expect(await hub.json('promote', 'mnist', '1', '--reason', 'simpler')).toMatchObject({
    dataset: 'mnist',
    model: 1,
    promotionNo: 2,
    previousModel: 2,
    reason: 'simpler',
    changed: true,
  });
  expect(await hub.json('promote', 'mnist', '1')).toMatchObject({ promotionNo: 2, changed: false });
  expect(await hub.json('rollback', 'mnist')).toMatchObject({ model: 2, promotionNo: 3, changed: true });
  expect(await hub.json('model', 'list', 'mnist')).toMatchObject({
    models: [
      { model: 1, live: false, run: 1 },
      { model: 2, live: true, run: 2 },
    ],
  });
  expect(await hub.json('model', 'show', 'mnist', '1')).toMatchObject({
    model: 1,
    manifest: { classes: [...'0123456789'] },
    promotions: [{ promotionNo: 2, reason: 'simpler' }],
  });
});

test('what people read ends with the command to go on with', async () => {
  await using hub = await digitsHub();
  const trained = await hub.run(['train', 'mnist', ...QUICK]);
  expect(trained.stdout).toMatch(/^Model 1 of mnist: 784-16-10, trained on 190 of 200 labelled images/);
  expect(trained.stdout.trimEnd().split('\n').at(-1)).toBe('Make it live: imagehub promote mnist 1');
  expect(trained.stderr).toMatch(/epoch 1 of 1: loss \d\.\d+, accuracy 0\.\d+, validation accuracy 0\.\d+/);
  expect((await hub.run(['promote', 'mnist', '1'])).stdout).toBe('Model 1 is live in mnist (promotion 1).\n');
  expect((await hub.run(['promote', 'mnist', '1'])).stdout).toContain('live in mnist already');
  const shown = await hub.run(['model', 'list', 'mnist']);
  expect(shown.stdout).toMatch(/1 │ live │ +0\.\d{4} │ trained 784-16-10 on 200 images/);
});

test('an interrupt ends training with a cancelled run, no model and status 130', async () => {
  await using hub = await digitsHub();
  const command = startImagehub(['train', 'mnist', '--epochs', '100000'], { env: hub.env });
  await command.says('epoch 1 of 100000');
  command.interrupt();
  const { status, stdout, stderr } = await command.ended;
  expect({ status, stdout }).toEqual({ status: 130, stdout: '' });
  expect(stderr).toMatch(/Training was interrupted after \d+ of 100000 steps/);
  expect(await listRuns(hub.pool, 'mnist')).toMatchObject([{ state: 'cancelled' }]);
  expect(await listModels(hub.pool, 'mnist')).toEqual([]);
});

test('a model from a file is registered with its manifest, and an exported one is such a file', async () => {
  await using hub = await digitsHub();
  await using folder = await temporaryFolder();
  await hub.run(['train', 'mnist', ...QUICK]);
  const exported = await hub.run(['model', 'export', 'mnist', '1'], folder.path);
  expect(exported.stdout).toBe('Wrote mnist-1.onnx and mnist-1.json.\n');
  const again = await hub.run(['model', 'export', 'mnist', '1'], folder.path);
  expect(again).toMatchObject({ status: 1, stderr: expect.stringContaining('mnist-1.onnx exists already') });

  // The manifest beside it is taken by itself: it is the same model.
  const same = await hub.json('model', 'add', 'mnist', folder.at('mnist-1.onnx'));
  expect(same).toMatchObject({ model: 1, existed: true });
  const options = ['--classes', '9,8,7,6,5,4,3,2,1,0', '--source', 'the other way round'];
  const other = await hub.json('model', 'add', 'mnist', folder.at('mnist-1.onnx'), ...options);
  expect(other).toMatchObject({ model: 2, existed: false, dataset: 'mnist', source: 'the other way round' });
  const [trained, added] = await listModels(hub.pool, 'mnist');
  expect(added).toMatchObject({ sha256: trained!.sha256, run: null });

  const manifest = JSON.parse(await readFile(folder.at('mnist-1.json'), 'utf8')) as { classes: string[] };
  manifest.classes.reverse().pop();
  const wrong = await folder.write('wrong.json', JSON.stringify(manifest));
  const refused = await hub.run(['model', 'add', 'mnist', folder.at('mnist-1.onnx'), '--manifest', wrong]);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/does not fit its manifest: its output is .*10\], the manifest says .*9\]/);
  const torn = await folder.write('torn.json', '{');
  const unreadable = await hub.run(['model', 'add', 'mnist', folder.at('mnist-1.onnx'), '--manifest', torn]);
  expect(unreadable.stderr).toContain('torn.json is not JSON');
  const missing = await hub.run(['model', 'add', 'mnist', folder.at('missing.onnx')]);
  expect(missing.stderr).toContain('missing.onnx cannot be read');
  expect(await listModels(hub.pool, 'mnist')).toHaveLength(2);
});

describe('what cannot be done is refused in words', () => {
  let hub: Awaited<ReturnType<typeof digitsHub>>;
  beforeAll(async () => {
    hub = await digitsHub();
  });
  afterAll(async () => {
    await hub[Symbol.asyncDispose]();
  });

  test.each<[string[], RegExp]>([
    [['train', 'nothing'], /There is no dataset nothing \(there is: mnist\)/],
    [['train', 'mnist', '--epochs', '0', '--rate', 'x'], /epochs: [^]*rate: [^]*imagehub train --help/],
    [['train', 'mnist', '--size', '28'], /--size 28 is not a size[^]*--size 28x28/],
    [['train', 'mnist', '--limit', '1.5'], /--limit 1\.5 is not a whole number/],
    [['train', 'mnist', '--scale', 'grey'], /scale: /],
    [['promote', 'mnist', 'best'], /“best” is no model: give its number, or live, previous, shadow/],
    [['promote', 'mnist', '7'], /Dataset mnist has no model 7[^]*imagehub train mnist/],
    [['rollback', 'mnist'], /No model was ever live in mnist/],
    [['model', 'show', 'mnist', '7'], /Dataset mnist has no model 7/],
    [['model', 'list', 'nothing'], /There is no dataset nothing/],
  ])('imagehub %j', async (args, message) => {
    const { status, stdout, stderr } = await hub.run(args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('    at ');
  });
});

test('the help of train gives every setting with its default', async () => {
  const { stdout } = await imagehub(['train', '--help']);
  for (const text of ['--hidden <sizes>', 'default: 500,100', '--validation <share>', 'default: binarise']) {
    expect(stdout).toContain(text);
  }
});

test('an interrupted training goes on where it stood, and gives the same network as one that was not', async () => {
  await using hub = await digitsHub();
  const settings = ['--hidden', '64', '--epochs', '150', '--batch', '32', '--rotate', '10'];
  const command = startImagehub(['train', 'mnist', ...settings], { env: hub.env });
  await command.says('epoch 3 of 150');
  command.interrupt();
  const { stderr } = await command.ended;
  expect(stderr).toContain('Go on with it: imagehub train mnist --resume 1');

  const wrong = await hub.run(['train', 'mnist', '--resume', '1', '--rate', '0.2']);
  expect(wrong.stderr).toMatch(/Run 1 goes on with its own settings/);
  const resumed = await hub.json('train', 'mnist', '--resume', '1');
  expect(resumed).toMatchObject({ run: 1, model: 1, parameters: { hidden: [64], rotate: 10 } });
  expect((resumed.metrics as { history: unknown[] }).history).toHaveLength(150);
  await hub.json('train', 'mnist', ...settings);
  const [first, second] = await listModels(hub.pool, 'mnist');
  expect(first!.sha256).toBe(second!.sha256);
  expect((await hub.pool.query('select from imagehub.checkpoints')).rowCount).toBe(0);

  const done = await hub.run(['train', 'mnist', '--resume', '1']);
  expect(done).toMatchObject({ status: 1, stderr: expect.stringContaining('Run 1 is done') });
  const none = await hub.run(['train', 'mnist', '--resume', '77']);
  expect(none).toMatchObject({ status: 1, stderr: expect.stringContaining('has no training run 77') });
});

test('a training whose images changed while it was interrupted is not gone on with', async () => {
  await using hub = await digitsHub();
  const command = startImagehub(['train', 'mnist', '--hidden', '64', '--epochs', '100000'], { env: hub.env });
  await command.says('epoch 2 of');
  command.kill();
  await command.ended;
  await hub.pool.query("update mnist set known_label = 3 where id = 'train/0'");
  const refused = await hub.run(['train', 'mnist', '--resume', '1']);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/labelled images have changed since run 1 began[^]*without --resume/);
});
