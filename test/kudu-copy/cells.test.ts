import { expect, test } from '@jest/globals';
import { copyStatus } from '../../kudu-copy/status.ts';
import { kuduCluster } from '../kudu/support/kudu-cluster.ts';
import { insertImage } from '../support/image-rows.ts';
import type { HubPool } from '../../sql/database.ts';
import { testCopy } from './support/copies.ts';

const KIB = 1024;
const kib = (count: number) => 'A'.repeat(count * KIB);
const LACKING = ['omitted', 'image_base64', 'image_pgm', 'exif', 'prediction'];

async function insertLarge(pool: HubPool): Promise<void> {
  await insertImage(pool, 'mnist', { id: 'fits', image_base64: kib(64), image_pgm: Buffer.alloc(64 * KIB) });
  await insertImage(pool, 'mnist', {
    id: 'large',
    image_base64: kib(65),
    image_pgm: Buffer.alloc(64 * KIB + 1),
    exif: { note: kib(70) },
    prediction: 3,
  });
  await insertImage(pool, 'mnist', { id: 'large too', image_base64: kib(400), prediction: 4 });
}

test('values over the limit for a cell are null, and named; the rows are there', async () => {
  await using copy = await testCopy();
  const running = copy.start();
  await insertLarge(copy.pool);
  expect(await copy.inStep()).toMatchObject({ rows: 3, copiedRows: 3 });
  const rows = await copy.rows(...LACKING);
  expect(rows.fits).toMatchObject({ omitted: null, image_base64: kib(64) });
  expect(rows.fits!.image_pgm).toHaveLength(64 * KIB);
  expect(rows.large).toEqual({
    omitted:
      'image_base64 (66560 bytes, over 65536), image_pgm (65537 bytes, over 65536), exif (71692 bytes, over 65536)',
    image_base64: null,
    image_pgm: null,
    exif: null,
    prediction: 3,
  });
  expect(rows['large too']!.omitted).toBe('image_base64 (409600 bytes, over 65536)');
  expect(await copyStatus(copy.pool, copy.kudu)).toMatchObject([
    { rows: 3, copiedRows: 3, incompleteRows: 2 },
  ]);
  const text = await running.metrics.registry.metrics();
  expect(text).toMatch(/imagehub_copy_rows_total\{dataset="mnist",outcome="incomplete"\} [2-9]/);
  const said = running.lines.filter(({ msg }) => /over the limit for a cell/.test(msg));
  expect(said.map(({ column }) => column).sort()).toEqual(['exif', 'image_base64', 'image_pgm']);

  await copy.pool.query("update mnist set image_base64 = 'AAAA' where id = 'large too'");
  await copy.inStep();
  expect((await copy.rows(...LACKING))['large too']).toMatchObject({ omitted: null, image_base64: 'AAAA' });
});

test('where Kudu takes less than the setting says, it takes what it takes', async () => {
  await using copy = await testCopy();
  const running = copy.start({ kuduMaxCellBytes: 1024 * KIB });
  await insertLarge(copy.pool);
  await copy.inStep();
  const rows = await copy.rows(...LACKING);
  expect(rows.fits!.omitted).toBeNull();
  expect(rows.large!.omitted).toMatch(/^image_base64 \(66560 bytes, over 65536\), image_pgm/);
  expect(running.lines.filter(({ msg }) => /takes no cells as large/.test(msg))).toHaveLength(1);
});

test('with the limit raised on both sides large values are copied', async () => {
  await using cluster = await kuduCluster({ flags: [`--max_cell_size_bytes=${1024 * KIB}`] });
  await using copy = await testCopy({ masters: cluster.addresses });
  copy.start({ kuduMaxCellBytes: 100 * KIB });
  await insertLarge(copy.pool);
  await copy.inStep();
  const rows = await copy.rows(...LACKING);
  expect(rows.large).toMatchObject({ omitted: null, image_base64: kib(65), exif: `{"note": "${kib(70)}"}` });
  expect(rows['large too']!.omitted).toBe('image_base64 (409600 bytes, over 102400)');
});
