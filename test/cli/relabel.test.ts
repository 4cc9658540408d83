import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDataset } from '../../sql/datasets.ts';
import { imageLabels, listLabelOperations } from '../../sql/label-history.ts';
import { imagehub } from '../support/imagehub.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';

let db: TestDatabase;
let folder: TemporaryFolder;
beforeAll(async () => {
  db = await freshDatabase();
  folder = await temporaryFolder();
  // A class whose name is another one's index: names win.
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog', '0'] });
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await db.pool.query('delete from pets');
  await db.pool.query('delete from imagehub.deleted_images');
  await db.pool.query('delete from imagehub.label_changes');
  await db.pool.query(
    `begin; set local imagehub.writer = 'ingest';
     insert into pets (id, image_base64, image_pgm, known_label, prediction)
     select 'a' || n, '', '', 0, n % 2 from generate_series(0, 5) n; commit`,
  );
});

const relabel = (...args: string[]) =>
  imagehub(['relabel', ...args], { env: { IMAGEHUB_POSTGRES_URL: db.url } });
const labels = async (...ids: string[]) =>
  (await imageLabels(db.pool, 'pets', ids)).map(({ class: name, by }) => (by ? `${name} by ${by}` : name));
const nothingHappened = async () => {
  expect(await labels('a0', 'a1', 'a2', 'a3', 'a4', 'a5')).toEqual(Array(6).fill('cat'));
  expect(await listLabelOperations(db.pool, 'pets', { limit: 1 })).toEqual([]);
};

describe('imagehub relabel', () => {
  test('takes ids and a class by name or index, and says how to take it back; history and undo do', async () => {
    const { status, stdout } = await relabel(
      ...'pets --id a0 --id a1 --class dog --by ada --json'.split(' '),
    );
    expect(status).toBe(0);
    const result = JSON.parse(stdout) as { operation: number };
    expect(result).toMatchObject({ dataset: 'pets', by: 'ada', dryRun: false, images: 2, changed: 2 });
    expect((await relabel('pets', '--id', 'a2', '--class', '0', '--by', 'bob')).status).toBe(0);
    expect((await relabel('pets', '--id', 'a3', '--clear', '--by', 'bob')).status).toBe(0);
    expect(await labels('a0', 'a1', 'a2', 'a3')).toEqual([
      'dog by ada',
      'dog by ada',
      '0 by bob',
      'null by bob',
    ]);

    const history = await relabel('history', 'pets', '--json');
    expect(JSON.parse(history.stdout)).toMatchObject({
      operations: [
        { detail: '--id a3 --clear', classes: [{ name: null, images: 1 }] },
        { detail: '--id a2 --class 0' },
        { operation: result.operation, by: 'ada', images: 2 },
      ],
    });
    const image = await relabel('history', 'pets', '--id', 'a0');
    expect(image.stdout).toMatch(/a0: dog, by ada/);
    expect(image.stdout).toMatch(/cat \(producer\)/);
    const unknown = await relabel('history', 'pets', '--id', 'nowhere');
    expect(unknown).toMatchObject({ status: 1, stderr: expect.stringContaining('no image nowhere') });

    const undone = await relabel('undo', 'pets', String(result.operation), '--by', 'eve');
    expect(undone.stdout).toMatch(/^2 images have the label again/);
    expect(await labels('a0', 'a1')).toEqual(['cat', 'cat']);
    const asked = await relabel('undo', 'pets');
    expect(asked.stderr).toMatch(/Operation \d+ by bob .*1 images \(\(cleared\): 1\).*--yes/s);
    expect(await labels('a3')).toEqual(['null by bob']);
    expect((await relabel('undo', 'pets', '--yes')).status).toBe(0);
    expect(await labels('a2', 'a3')).toEqual(['0 by bob', 'cat']);
  });

  test('takes a condition: says what it would do, asks, and does it', async () => {
    const where = ['pets', '--where', 'prediction = 1', '--class', 'dog', '--by', 'ada'];
    const dry = await relabel(...where, '--dry-run', '--json');
    expect(JSON.parse(dry.stdout)).toMatchObject({ changed: 3, before: [{ class: 'cat', images: 3 }] });
    await nothingHappened();
    const unasked = await relabel(...where);
    expect(unasked.status).toBe(1);
    expect(unasked.stderr).toMatch(/3 images of pets get class dog.*no terminal.*--yes/s);
    await nothingHappened();
    expect((await relabel(...where, '--yes')).stdout).toMatch(/^3 images of pets have another label/);
    expect(await labels('a1', 'a2', 'a3')).toEqual(['dog by ada', 'cat', 'dog by ada']);
  });

  test('takes a file of ids and classes', async () => {
    const file = await folder.write(
      'labels.csv',
      'file,class,id\nx/a0.png,dog,a0\nx/a1.png,0,a1\nx/a2.png,,a2\n',
    );
    const { stdout } = await relabel('pets', '--from', file, '--by', 'ada', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ images: 2, changed: 2 });
    expect(await labels('a0', 'a1', 'a2')).toEqual(['dog by ada', '0 by ada', 'cat']);
    const bare = await folder.write('bare.csv', 'a3;1\n');
    expect((await relabel('pets', '--from', bare, '--by', 'bob')).status).toBe(0);
    expect(await labels('a3')).toEqual(['dog by bob']);
  });
});

describe('imagehub relabel refuses, with nothing changed,', () => {
  const cases: [string, string[], RegExp][] = [
    ['a class that there is not', ['--id', 'a0', '--class', 'bird'], /no class “bird”.*cat, dog, 0/s],
    [
      'an id that there is not',
      ['--id', 'a0', '--id', 'b0', '--class', 'dog'],
      /no image b0.*Nothing was changed/s,
    ],
    ['an empty selection', ['--where', 'prediction = 9', '--class', 'dog', '--yes'], /No image of pets fits/],
    ['a condition that is none', ['--where', 'prediction', '--class', 'dog', '--yes'], /cannot be used/],
    [
      'a condition that writes',
      ['--where', "nextval('imagehub.revision') > 0", '--class', 'dog', '--yes'],
      /cannot be used.*read-only/,
    ],
    [
      'a condition that goes on as another statement',
      ['--where', 'true); delete from pets; select (true', '--class', 'dog', '--yes'],
      /cannot be used/,
    ],
    ['no images at all', ['--class', 'dog'], /Say which images/],
    ['no class', ['--id', 'a0'], /Say what the images show/],
    ['two ways at once', ['--id', 'a0', '--where', 'true', '--class', 'dog'], /in one way/],
    ['nobody', ['--id', 'a0', '--class', 'dog', '--by', ' '], /--by wants a name/],
  ];
  test.each(cases)('%s', async (_, args, message) => {
    const { status, stderr } = await relabel('pets', ...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    await nothingHappened();
  });

  test('a file with unknown ids, unknown classes or contradictions, by line', async () => {
    const files: [string, RegExp][] = [
      ['id,class\na0,dog\nb1,dog\na1,dog\nb2,cat\n', /no image b1 \(line 3\); b2 \(line 5\)/],
      ['a0,dog\na1,bird\n', /no class of the dataset: “bird” \(line 2\).*cat, dog, 0/],
      ['a0,dog\na0,cat\n', /line 2: a0 is cat, but dog in line 1/],
      ['id,class\n', /holds no labels/],
      ['\0\0\u0008\u0001\0\0\0\0', /IDX file, which holds no ids/],
    ];
    for (const [content, message] of files) {
      const { status, stderr } = await relabel('pets', '--from', await folder.write('bad.csv', content));
      expect(status).toBe(1);
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/Nothing was changed/);
    }
    await nothingHappened();
  });
});
