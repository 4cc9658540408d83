import { expect, test } from '@jest/globals';
import { checkFeedRetention } from '../../indexer/retention.ts';
import { createCopy, dropCopy } from '../../kudu-copy/create-and-drop.ts';
import { copySlots } from '../../kudu-copy/slot.ts';
import { copyByNumber, findCopy } from '../../kudu-copy/state.ts';
import { copyStatus } from '../../kudu-copy/status.ts';
import { createDataset, dropDataset } from '../../sql/datasets.ts';
import { toolScan } from '../kudu/support/kudu-tool.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, memoryLog } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';
import { testCopy } from './support/copies.ts';

const DAY = new Date('2026-02-03T04:05:06.789Z');
const MICROSECONDS = BigInt(DAY.getTime()) * 1000n;

test('a row is copied column by column, and the kudu tool reads it', async () => {
  await using copy = await testCopy();
  const pgm = Buffer.from('P5\n2 1\n255\n\x00\xff', 'latin1');
  await insertImage(copy.pool, 'mnist', {
    id: "a'/ü.png",
    image_base64: Buffer.from('image').toString('base64'),
    image_pgm: pgm,
    prediction: 3,
    confidence: 0.75,
    scores: [0.25, 0.75],
    model_id: 7,
    promotion_no: 2,
    predicted_at: DAY,
    known_label: 5,
    format: 'jpeg',
    width: 640,
    height: 480,
    channels: 3,
    byte_size: 12345,
    sha256: Buffer.from('00ff'.repeat(16), 'hex'),
    phash: '-9223372036854775807',
    pixel_mean: 12.5,
    colour_space: 'Display P3',
    brightness: 0.5,
    blank: false,
    over_exposed: true,
    dominant_colours: ['#ffffff', '#336699'],
    captured_offset: 120,
    altitude: -3.5,
    lens: 'EF 50mm',
    aperture: 1.75,
    exposure_time: 0.25,
    iso: 200,
    focal_length: 50,
    captured_at: 'infinity',
    latitude: 48.5,
    longitude: 9.25,
    camera: 'Gate 4',
    exif: { Photo: { ISO: 100 } },
    source_topic: 'mnist',
    source_partition: 1,
    source_offset: 42,
    source_timestamp: DAY,
  });
  copy.start();
  await copy.inStep();

  const { rows } = await copy.pool.query<{ revision: number }>('select revision from mnist');
  const [row] = await Array.fromAsync((await copy.open()).scan().rows());
  expect({ ...row, image_pgm: Buffer.from(row!.image_pgm as Uint8Array) }).toMatchObject({
    id: "a'/ü.png",
    image_base64: 'aW1hZ2U=',
    image_pgm: pgm,
    prediction: 3,
    known_label: 5,
    confidence: 0.75,
    scores: '[0.25,0.75]',
    model_id: 7n,
    promotion_no: 2n,
    predicted_at: MICROSECONDS,
    classify_error: null,
    labelled_by: expect.any(String) as unknown,
    format: 'jpeg',
    width: 640,
    byte_size: 12345,
    sha256: '00ff'.repeat(16),
    phash: -9223372036854775807n,
    pixel_mean: 12.5,
    entropy: null,
    blank: false,
    over_exposed: true,
    dominant_colours: '["#ffffff","#336699"]',
    captured_at: 2n ** 63n - 1n,
    captured_offset: 120,
    latitude: 48.5,
    longitude: 9.25,
    altitude: -3.5,
    camera: 'Gate 4',
    aperture: 1.75,
    exif: '{"Photo": {"ISO": 100}}',
    source_offset: 42n,
    source_timestamp: MICROSECONDS,
    revision: BigInt(rows[0]!.revision),
    omitted: null,
  });
  const [line] = await toolScan(copy.masters, copy.table);
  expect(line).toContain(String.raw`string id="a\'/ü.png"`);
  expect(line).toContain('int32 prediction=3, int32 known_label=5');
  expect((await copy.open()).schema.column('known_label').comment).toMatch(/^Class index a person/);
});

test('what there is is copied first, and what changes follows', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, 6000);
  const running = copy.start();
  expect(await copy.inStep()).toMatchObject({ rows: 6000, copiedRows: 6000 });

  await insertRows(pool, 10, 'later');
  await pool.query("update mnist set known_label = 4 where id = 'image7'");
  await pool.query("update mnist set prediction = 8, confidence = 0.5, model_id = 2 where id like 'image1%'");
  await pool.query("delete from mnist where id in ('image2', 'image3')");
  await pool.query("delete from mnist where id = 'image4'");
  await insertImage(pool, 'mnist', { id: 'image4', known_label: 9 });
  expect(await copy.inStep()).toMatchObject({ rows: 6008, copiedRows: 6008 });
  const rows = await copy.rows('prediction', 'known_label', 'model_id');
  expect(rows.image7).toMatchObject({ known_label: 4 });
  expect(rows.image11).toEqual({ prediction: 8, known_label: 1, model_id: 2n });
  expect(rows.image4).toMatchObject({ known_label: 9, prediction: -1 });
  expect(rows.later9).toBeDefined();
  expect(await toolScan(copy.masters, copy.table)).toHaveLength(6008);

  await until(
    async () => (await copyStatus(pool, copy.kudu))[0]!.lagSeconds === 0,
    'the status says that it is in step',
  );
  expect(await copyStatus(pool, copy.kudu)).toMatchObject([
    { dataset: 'mnist', table: copy.table, keeper: 'kept', state: 'following', rows: 6008, copiedRows: 6008 },
  ]);
  await until(async () => {
    const text = await running.metrics.registry.metrics();
    return (
      /imagehub_copy_rows_total\{dataset="mnist",outcome="upserted"\} 7\d\d\d/.test(text) &&
      /imagehub_copy_rows_total\{dataset="mnist",outcome="deleted"\} [23]/.test(text) &&
      text.includes('imagehub_copy_lag_seconds{dataset="mnist"} 0')
    );
  }, 'the metrics tell of it');
});

test('catches up after being off; what nobody told of is found when the slot is gone', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  const first = copy.start();
  await insertRows(pool, 100);
  await copy.inStep();
  await first.stop();

  await insertRows(pool, 50, 'later');
  await pool.query("delete from mnist where id = 'image1'");
  await expect(copy.check(0)).rejects.toMatchObject({
    code: 'NOT_CONSISTENT',
    hint: expect.stringMatching(/--wait/),
  });
  const second = copy.start();
  await copy.inStep();
  await second.stop();

  const { copyNo } = (await findCopy(pool, 'mnist'))!;
  const { name } = (await copySlots(pool)).get(copyNo)!;
  // Nobody followed it for too long.
  const { log, lines } = memoryLog();
  expect(await checkFeedRetention(pool, 0, log)).toMatchObject([{ slot: name, outcome: 'dropped' }]);
  expect(lines[0]!.msg).toMatch(/the copy in Kudu is out of date until imagehub run copy makes it anew/);
  await pool.query("delete from mnist where id = 'image2'");
  await pool.query("update mnist set known_label = 1 where id = 'image3'");
  const third = copy.start();
  await copy.inStep();
  expect(third.lines).toContainEqual(
    expect.objectContaining({ msg: 'copying every image', reason: expect.stringMatching(/no change feed/) }),
  );
  expect(await copy.rows()).not.toHaveProperty('image2');
});

test('changes that are replayed change nothing', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  const first = copy.start();
  await insertRows(pool, 100);
  await copy.inStep();
  await first.stop();
  // As if nothing after the copy's beginning had been acknowledged.
  await pool.query("update imagehub.kudu_copies set state = 'copying', copied_to = null");
  await pool.query(
    "update mnist set known_label = 1 where id = 'image3'; delete from mnist where id = 'image4'",
  );
  const second = copy.start();
  await until(
    async () => (await findCopy(pool, 'mnist'))!.state === 'following',
    'it has copied everything again',
  );
  await second.stop();
  copy.start();
  expect(await copy.inStep()).toMatchObject({ rows: 99, copiedRows: 99 });
});

test('the check names what is missing, extra, or of another revision', async () => {
  await using copy = await testCopy();
  await insertRows(copy.pool, 20);
  copy.start();
  await copy.inStep();
  const table = await copy.open();
  const session = copy.kudu.session();
  session.delete(table, { id: 'image1' });
  session.update(table, { id: 'image2', revision: 0n });
  const [row] = await Array.fromAsync(table.scan({ where: { id: 'image3' } }).rows());
  session.insert(table, { ...row, id: 'stranger' });
  expect((await session.flush()).errors).toEqual([]);
  const result = await copy.check();
  expect(result).toMatchObject({ rows: 20, copiedRows: 20, different: 3, equal: false });
  expect(result.differences.map(({ id, kind }) => [id, kind])).toEqual([
    ['image1', 'missing'],
    ['image2', 'older'],
    ['stranger', 'extra'],
  ]);
});

test('a dropped dataset stops its copy, which keeps what it has, until the copy is dropped', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, 100);
  copy.start();
  await copy.inStep();
  const { copyNo } = (await findCopy(pool, 'mnist'))!;
  // Changes of images that are gone when they are read again.
  await pool.query('update mnist set known_label = 1');
  await dropDataset(pool, 'mnist');
  await until(async () => (await copySlots(pool)).size === 0, 'its slot is dropped');
  await until(async () => (await copyByNumber(pool, copyNo))!.writer === null, 'nobody writes to it');
  expect(await copyByNumber(pool, copyNo)).toMatchObject({
    state: 'stopped',
    reason: 'the dataset was dropped',
  });
  await createDataset(pool, { name: 'mnist', classes: ['a', 'b'] });
  await insertImage(pool, 'mnist', { id: 'new' });
  await expect(copy.check()).rejects.toMatchObject({
    message: expect.stringMatching(/stopped: the dataset was dropped/),
  });
  expect(Object.keys(await copy.rows())).toHaveLength(100);

  const { signal } = new AbortController();
  const { table } = copy;
  expect(await dropCopy(pool, copy.kudu, 'mnist', signal)).toMatchObject({ tableDropped: true });
  expect(await copy.kudu.listTables(table)).toEqual([]);
  await createCopy(pool, copy.kudu, { dataset: 'mnist', table, partitions: 1, replicas: 1 }, signal);
  await copy.inStep();
  expect(Object.keys(await copy.rows())).toEqual(['new']);
});

test('a copy that is dropped while it is kept leaves no table and no slot', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, 100);
  const running = copy.start();
  await copy.inStep();
  await dropCopy(pool, copy.kudu, 'mnist', new AbortController().signal);
  expect(await copy.kudu.listTables(copy.table)).toEqual([]);
  expect((await copySlots(pool)).size).toBe(0);
  await running.stop();
  expect(running.troubles.health()).toEqual({ state: 'ok' });
});

test('a table that imagehub did not make is not written to', async () => {
  await using copy = await testCopy({ created: false });
  const columns = [{ name: 'id', type: 'STRING' as const, key: true }];
  await copy.kudu.createTable({ name: copy.table, columns });
  const { signal } = new AbortController();
  const wanted = { dataset: 'mnist', table: copy.table, partitions: 1, replicas: 1 };
  await expect(createCopy(copy.pool, copy.kudu, wanted, signal)).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
  });
  expect(await findCopy(copy.pool, 'mnist')).toBeUndefined();

  const other = await createCopy(copy.pool, copy.kudu, { ...wanted, table: `${copy.table}_2` }, signal);
  await copy.kudu.deleteTable(other.tableName);
  await copy.kudu.createTable({ name: other.tableName, columns });
  const running = copy.start();
  await until(
    async () => /not the copy of mnist/.test((await findCopy(copy.pool, 'mnist'))!.lastError ?? ''),
    'it says so',
  );
  expect(running.troubles.health()).toMatchObject({ state: 'waiting' });
  await expect(dropCopy(copy.pool, copy.kudu, 'mnist', signal)).rejects.toMatchObject({ code: 'CONFLICT' });
  expect(await dropCopy(copy.pool, null, 'mnist', signal)).toMatchObject({ tableDropped: false });
  for (const name of [copy.table, other.tableName]) await copy.kudu.deleteTable(name);
});

test('a table that somebody dropped is made and filled again; one of an older imagehub gets its columns', async () => {
  await using copy = await testCopy();
  const { pool } = copy;
  await insertRows(pool, 50);
  copy.start();
  await copy.inStep();
  await copy.kudu.deleteTable(copy.table);
  await insertRows(pool, 1, 'later');
  await until(async () => (await copy.kudu.listTables(copy.table)).length === 1, 'the table is there again');
  await until(async () => (await copy.check().catch(() => null))?.equal === true, 'it equals the dataset');

  await copy.kudu.alterTable(copy.table, [{ dropColumn: 'lens' }]);
  await pool.query("update mnist set lens = 'EF 50mm'");
  await until(async () => (await copy.open()).schema.has('lens'), 'the column is there again');
  await copy.inStep();
  expect((await copy.rows('lens')).image7).toEqual({ lens: 'EF 50mm' });
});
