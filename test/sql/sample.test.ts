import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { checkSelection, type Sample, type Selection, selectionSql } from '../../sql/selection.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await digitsDataset(db.pool);
  // Classes of very different size: 3000, 995, 5, and 1000 images without a label.
  await db.pool.query(
    `insert into mnist (id, image_base64, image_pgm, known_label)
     select 'i/' || n, '', '', case when n < 3000 then 1 when n < 3995 then 2 when n < 4000 then 3 end
       from generate_series(0, 4999) n`,
  );
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

async function drawn(
  sample: Partial<Sample>,
  selection: Selection = {},
): Promise<Map<string, number | null>> {
  const all = { share: 0.1, seed: 1, byClass: false, ...sample };
  const { rows } = await db.pool.query<{ id: string; known_label: number | null }>(
    `select i.id, i.known_label from ${selectionSql('mnist', { ...selection, sample: all })}`,
  );
  return new Map(rows.map(({ id, known_label }) => [id, known_label]));
}

const ofClass = (images: Map<string, number | null>, label: number | null) =>
  [...images.values()].filter((each) => each === label).length;

test('a sample is about that share, the same for the same seed, and another for another', async () => {
  const tenth = await drawn({});
  // Four standard deviations of 500 out of 5000.
  expect(Math.abs(tenth.size - 500)).toBeLessThan(85);
  expect(await drawn({})).toEqual(tenth);
  const other = await drawn({ seed: 2 });
  const both = [...other.keys()].filter((id) => tenth.has(id)).length;
  expect(both).toBeLessThan(100);
  expect((await drawn({ share: 1 })).size).toBe(5000);
});

test('a smaller share is part of a larger one, and no image depends on which others there are', async () => {
  for (const byClass of [false, true]) {
    const [some, more] = [await drawn({ byClass }), await drawn({ byClass, share: 0.3 })];
    expect([...some.keys()].filter((id) => !more.has(id))).toEqual([]);
  }
  const all = await drawn({});
  const half = await drawn({}, { where: `id < 'i/3'` });
  expect([...half.keys()].sort()).toEqual([...all.keys()].filter((id) => id < 'i/3').sort());
});

test('by class, each class has that share, rounded up, of what is selected', async () => {
  const tenth = await drawn({ byClass: true });
  expect([1, 2, 3, null].map((label) => ofClass(tenth, label))).toEqual([300, 100, 1, 100]);
  const where = 'known_label = 3 or known_label is null';
  const some = await drawn({ byClass: true, share: 0.5 }, { where });
  expect([1, 2, 3, null].map((label) => ofClass(some, label))).toEqual([0, 0, 3, 500]);
});

test('a sample is counted and checked as any selection', async () => {
  const client = await db.pool.connect();
  try {
    await client.query('begin read only');
    const sample = { share: 0.1, seed: 1, byClass: true };
    expect(await checkSelection(client, 'mnist', { sample })).toBe(501);
    await expect(checkSelection(client, 'mnist', { sample, where: 'nonsense' })).rejects.toMatchObject({
      code: 'USAGE',
    });
    await client.query('rollback');
  } finally {
    client.release();
  }
});
