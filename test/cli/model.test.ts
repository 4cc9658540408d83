import { expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { readFile, unlink } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { fileURLToPath } from 'node:url';
import { insertDigits } from '../support/digit-rows.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { imagehub } from '../support/imagehub.ts';
import { freshDatabase } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const exported = (name: string) =>
  fileURLToPath(new URL(`../classifier/models/${name}.onnx`, import.meta.url));

async function digitsHub() {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { from: 4000, count: 60, folder: 'test' });
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  return {
    pool: db.pool,
    run: (...args: string[]) => imagehub(args, { env }),
    async json(...args: string[]) {
      const { status, stdout, stderr } = await imagehub([...args, '--json'], { env });
      expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout) as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

test('a model is added by what its file lacks, listed, shown with its origin, promoted by alias and deleted', async () => {
  await using hub = await digitsHub();
  const file = exported('sklearn-mlp');
  const refused = await hub.run('model', 'add', 'mnist', file);
  expect(refused).toMatchObject({ status: 1, stdout: '' });
  expect(refused.stderr).toContain('not known is:\n  input.scaling');
  expect(refused.stderr).toContain('Give the options named above');

  const printed = await hub.run('model', 'add', 'mnist', file, '--print-manifest');
  expect(printed).toMatchObject({ status: 0, stderr: expect.stringContaining('not known, input.scaling') });
  await using folder = await temporaryFolder();
  const draft = JSON.parse(printed.stdout) as { input: object };
  const manifest = JSON.stringify({ ...draft, input: { ...draft.input, scaling: { kind: 'unit' } } });
  const complete = await folder.write('m.json', manifest);
  const added = await hub.json('model', 'add', 'mnist', file, '--manifest', complete, '--by', 'ada');
  expect(added).toMatchObject({
    model: 1,
    existed: false,
    source: 'file sklearn-mlp.onnx',
    sample: { images: 60 },
  });
  const again = await hub.run('model', 'add', 'mnist', file, '--scale', 'unit');
  expect(again.stdout).toContain('These bytes with this manifest are model 1 of mnist already');
  const forest = await hub.run('model', 'add', 'mnist', exported('sklearn-forest'), '--scale', 'unit');
  expect(forest).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('Model 2 of mnist is registered'),
  });
  expect(forest.stderr).toMatch(
    /Warning: .* of 60 labelled images[^]*It would be \d+\.\d % with --scale none/,
  );

  await hub.json('promote', 'mnist', '2');
  await hub.json('promote', 'mnist', '1', '--reason', 'better', '--by', 'bob');
  const listed = await hub.run('model', 'list', 'mnist');
  expect(listed.stdout).toMatch(/│ +1 │ live +│[^]*│ +2 │ previous │/);
  const shown = await hub.run('model', 'show', 'mnist', 'live');
  expect(shown.stdout).toMatch(/made with +│ skl2onnx [\d.]+, IR version \d+, operator sets/);
  expect(shown.stdout).toContain(`:${file}, `);
  expect(shown.stdout).toContain('by bob: better');
  expect(await hub.json('model', 'show', 'mnist', 'live')).toMatchObject({
    createdBy: 'ada',
    sha256: createHash('sha256')
      .update(await readFile(file))
      .digest('hex'),
    promotions: [{ promotedBy: 'bob' }],
  });
  expect(await hub.json('promotions', 'mnist')).toMatchObject({
    promotions: [
      { promotionNo: 2, model: 1, previousModel: 2, reason: 'better', gate: null },
      // Nobody was named: the user of this computer.
      { promotionNo: 1, model: 2, previousModel: null, promotedBy: userInfo().username },
    ],
  });

  const live = await hub.run('model', 'delete', 'mnist', 'live', '--yes');
  expect(live).toMatchObject({ status: 1, stderr: expect.stringContaining('Model 1 is live in mnist.') });
  const asked = await hub.run('model', 'delete', 'mnist', 'previous');
  expect(asked.stderr).toContain('Mind that imagehub rollback mnist will have nothing to go back to.');
  expect(asked).toMatchObject({ status: 1, stderr: expect.stringContaining('Give --yes if you are sure') });
  expect(await hub.json('model', 'delete', 'mnist', '2', '--yes', '--by', 'cleo')).toMatchObject({
    model: 2,
    dataset: 'mnist',
  });
  expect((await hub.json('model', 'list', 'mnist')).models).toHaveLength(1);
  expect((await hub.json('model', 'list', 'mnist', '--all')).models).toHaveLength(2);
  expect((await hub.run('model', 'show', 'mnist', '2')).stdout).toMatch(/deleted +│ by cleo/);
  expect(await hub.run('rollback', 'mnist')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Model 2 of mnist was deleted'),
  });
});

test('an exported model with its weights and manifest is added elsewhere as it is', async () => {
  await using hub = await digitsHub();
  await hub.json('model', 'add', 'mnist', exported('torch-conv'), '--mean', '0.1307', '--std', '0.3081');
  await using folder = await temporaryFolder();
  await hub.json('model', 'export', 'mnist', '1', '--output', folder.at('conv.onnx'));
  expect(JSON.parse(await readFile(folder.at('conv.json'), 'utf8'))).toMatchObject({
    input: { layout: 'NCHW', scaling: { kind: 'mean-std', mean: [0.1307] } },
  });
  expect(await hub.json('model', 'add', 'mnist', folder.at('conv.onnx'))).toMatchObject({
    model: 1,
    existed: true,
  });
  // Where the manifest cannot be written, no model is left in the way of the next try.
  await unlink(folder.at('conv.onnx'));
  const refused = await hub.run('model', 'export', 'mnist', '1', '--output', folder.at('conv.onnx'));
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('conv.json exists already') });
  await unlink(folder.at('conv.json'));
  await hub.json('model', 'export', 'mnist', '1', '--output', folder.at('conv.onnx'));
});

test.each([
  [['--scale', 'half'], '--scale half is none of unit, none, binarise, mean-std'],
  [['--scale', 'mean-std'], 'needs --mean and --std'],
  [['--mean', 'a', '--std', '1'], '--mean a is not a number'],
  [['--scale', 'unit', '--threshold', '3'], '--threshold is for --scale binarise'],
  [['--size', '28'], '--size 28 is not a size'],
  [['--scale', 'unit', '--input', 'pixels'], 'has no input “pixels”; it has X'],
  [
    ['--scale', 'unit', '--output', 'logits'],
    'has no output “logits”; it has “label” int64 [?], “probabilities”',
  ],
  [['--manifest', 'nothing.json'], 'nothing.json cannot be read'],
])('model add with %j is refused in words', async (options, message) => {
  await using hub = await digitsHub();
  const { status, stderr } = await hub.run('model', 'add', 'mnist', exported('sklearn-mlp'), ...options);
  expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining(message) });
});

test('a promotion that is not good enough ends with status 1, figures for people and for scripts, and is in no history', async () => {
  await using hub = await digitsHub();
  await hub.json('model', 'add', 'mnist', exported('sklearn-mlp'), '--scale', 'unit');
  await hub.json('model', 'add', 'mnist', exported('sklearn-forest'), '--scale', 'none');
  const gate = ['--require', 'accuracy >= 0.5', '--require', 'accuracy >= live - 0.001', '--max-broken', '1'];
  await hub.json('promote', 'mnist', '1', ...gate);
  const refused = await hub.run('promote', 'mnist', '2', ...gate);
  expect(refused).toMatchObject({ status: 1, stdout: '' });
  expect(refused.stderr).toMatch(
    /does not reach what is required, model 1 stays live:\n.*, met\n.*missed by 0\.\d+/,
  );
  expect(refused.stderr).toMatch(/imagehub evaluate compare \d+ \d+ shows/);
  const { status, stdout } = await hub.run('promote', 'mnist', '2', ...gate, '--json');
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ promoted: false, gate: { met: false, maxBroken: 1 } });
  expect(await hub.json('promotions', 'mnist')).toMatchObject({
    promotions: [{ model: 1, gate: { met: true, requirements: [{ met: true }, { met: true, live: null }] } }],
  });
  const unknown = await hub.run('promote', 'mnist', '2', '--require', 'beauty > 1');
  expect(unknown).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('There are: accuracy, precision'),
  });
});

test('a promotion and a roll-back can leave the stored images to the workers', async () => {
  await using hub = await digitsHub();
  await hub.json('model', 'add', 'mnist', exported('sklearn-mlp'), '--scale', 'unit');
  await hub.json('model', 'add', 'mnist', exported('sklearn-forest'), '--scale', 'none');
  await hub.json('promote', 'mnist', '1');
  await hub.pool.query('update mnist set prediction = 1, model_id = 1, promotion_no = 1');
  const left = await hub.json('promote', 'mnist', '2', '--reclassify');
  expect(left).toMatchObject({ model: 2, promotionNo: 2, reclassification: { job: 1, units: 60 } });
  await hub.pool.query('update mnist set prediction = 1, model_id = 2, promotion_no = 2');
  const back = await hub.run('rollback', 'mnist', '--reclassify', '--by', 'ada');
  expect(back).toMatchObject({ status: 0 });
  expect(back.stdout).toContain('Job 2 predicts 60 stored images again');
  const { rows } = await hub.pool.query('select dataset, kind, state from imagehub.jobs order by id');
  expect(rows).toEqual([1, 2].map(() => ({ dataset: 'mnist', kind: 'reclassify', state: 'waiting' })));

  // A job that cannot be left to them does not hide what has happened.
  await hub.pool.query('alter table imagehub.jobs add constraint none check (false) not valid');
  const alone = await hub.run('promote', 'mnist', '2', '--reclassify', '--json');
  expect(alone).toMatchObject({ status: 1, stderr: expect.stringContaining('violates check constraint') });
  expect(JSON.parse(alone.stdout)).toMatchObject({ model: 2, changed: true, promotionNo: 4 });
  const again = await hub.run('rollback', 'mnist', '--reclassify');
  expect(again).toMatchObject({
    status: 1,
    stdout: expect.stringContaining('Model 1 is live in mnist (promotion 5).'),
  });
  const { promotions } = await hub.json('promotions', 'mnist');
  expect(promotions).toMatchObject([{ promotionNo: 5 }, { promotionNo: 4 }, { promotedBy: 'ada' }, {}, {}]);
});

test('a shadow is set, shown and ended', async () => {
  await using hub = await digitsHub();
  await hub.json('model', 'add', 'mnist', exported('sklearn-mlp'), '--scale', 'unit');
  expect((await hub.run('shadow', 'mnist')).stdout).toContain('mnist has no shadow. Set one with');
  expect(await hub.json('shadow', 'mnist', '1', '--by', 'ada')).toEqual({
    dataset: 'mnist',
    model: 1,
    before: null,
    changed: true,
  });
  expect((await hub.run('shadow', 'mnist', '1')).stdout).toContain('is the shadow of mnist already');
  expect(await hub.json('shadow', 'mnist')).toMatchObject({ model: 1, startedBy: 'ada', predicted: 0 });
  expect(await hub.run('shadow', 'mnist', '1', '--off')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Name a model or --off, not both.'),
  });
  const ended = await hub.run('shadow', 'mnist', '--off', '--by', 'bob');
  expect(ended.stdout).toContain('mnist has no shadow any more');
  const { rows } = await hub.pool.query('select model_id, started_by, ended_by from imagehub.shadows');
  expect(rows).toEqual([{ model_id: 1, started_by: 'ada', ended_by: 'bob' }]);
});
