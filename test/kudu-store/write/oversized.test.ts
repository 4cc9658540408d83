import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { decode } from '../../../images/decode.ts';
import { parsePgm } from '../../../images/pgm.ts';
import { encodeGreyPng } from '../../../images/png.ts';
import { connect } from '../../../kudu/index.ts';
import { KuduConnection } from '../../../kudu-store/connection.ts';
import { StoreTables } from '../../../kudu-store/table.ts';
import { retryDeadLetters } from '../../../ingest/retry-dead-letters.ts';
import { setOversized } from '../../../sql/datasets.ts';
import { selectionSql } from '../../../sql/selection.ts';
import { storeHub, type StoreDataset } from '../../image-store/support/store-hub.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitPng } from '../../support/digits.ts';
import { imagehub } from '../../support/imagehub.ts';
import { noisePng } from '../../support/noise.ts';
import { placedPicture } from '../../support/placed-images.ts';

const LIMIT = 64 * 1024;

const LARGE = noisePng(400);

const kuduColumns = async ({ at }: StoreDataset, columns: string[]) => {
  using client = await connect({ masters: at.kudu! });
  const table = await client.openTable(at.dataset);
  return Object.fromEntries(
    (await Array.fromAsync(table.scan({ columns: ['id', ...columns] }).rows())).map((row) => [row.id, row]),
  );
};

describe('an image over the limit of a cell', () => {
  const hub = storeHub('kudu');

  /** Ids of the images that a user's condition holds for. */
  const selected = ({ name }: StoreDataset, where: string) => {
    const selection = { where };
    return hub.stores.kudu.images.query(hub.pool, { dataset: name, selection }, async (client, images) => {
      const sql = `select i.id from ${selectionSql(images, selection)} order by i.id`;
      return (await client.query<{ id: string }>(sql)).rows.map(({ id }) => id);
    });
  };

  test('is stored as the largest rendition that fits, if the dataset says so; all else is about the image', async () => {
    await using dataset = await hub.dataset({ oversized: 'reduce', pgmMaxSide: 256 });
    await dataset.goLive(constantModel(4));
    const photo = await placedPicture(2400, 1600).jpeg({ quality: 95 }).toBuffer();
    await dataset.deliver([
      { key: 'large.png', value: LARGE },
      { key: 'photo.jpg', value: photo },
      { key: 'small.png', value: digitPng(1, 1) },
      // Only its PGM is over the limit.
      { key: 'square.png', value: encodeGreyPng(new Uint8Array(256 * 256).fill(7), 256, 256) },
    ]);
    expect(await dataset.deadLetters()).toEqual([]);
    const reduced = await kuduColumns(dataset, ['reduced_width', 'reduced_height']);
    for (const [id, received, width, height] of [
      ['large.png', LARGE, 400, 400],
      ['photo.jpg', photo, 2400, 1600],
    ] as const) {
      const row = (await dataset.image(id))!;
      expect(row.image_base64.length).toBeLessThanOrEqual(LIMIT);
      expect(row.image_base64.length).toBeGreaterThan(0.8 * LIMIT);
      expect(row).toMatchObject({
        width,
        height,
        byte_size: received.length,
        format: id.endsWith('png') ? 'png' : 'jpeg',
        sha256: createHash('sha256').update(received).digest('hex'),
        prediction: 4,
      });
      const shown = await decode(Buffer.from(row.image_base64, 'base64'), { maxPixels: 1e7 });
      expect([shown.width, shown.height]).toEqual([reduced[id]!.reduced_width, reduced[id]!.reduced_height]);
      expect(shown.width / shown.height).toBeCloseTo(width / height, 1);
      expect(shown.exif).toBeNull();
    }
    expect(await dataset.image('photo.jpg')).toMatchObject({
      camera: 'Canon EOS 5D',
      latitude: expect.closeTo(48.5, 1),
    });
    expect(reduced['small.png']).toMatchObject({ reduced_width: null, reduced_height: null });
    expect(reduced['square.png']).toMatchObject({ reduced_width: null, reduced_height: null });
    const square = parsePgm(Buffer.from((await dataset.image('square.png'))!.image_pgm, 'hex'));
    expect([square.width, square.height]).toEqual([255, 255]);

    // The same again, and counted.
    const before = (await dataset.images()).map(({ image_base64 }) => image_base64);
    await dataset.replay({ atOnce: 1 });
    expect((await dataset.images()).map(({ image_base64 }) => image_base64)).toEqual(before);
    const shown = await imagehub(['dataset', 'show', dataset.name, '--json'], { env: hub.env });
    expect(JSON.parse(shown.stdout)).toMatchObject({ rows: 4, reduced: 2, oversized: 'reduce' });
    expect(await selected(dataset, 'reduced_width > 0')).toEqual(['large.png', 'photo.jpg']);
    expect(await selected(dataset, 'reduced_height is null')).toEqual(['small.png', 'square.png']);
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, rows: 4, deadLetters: 0 });
  });

  test('is stored in a table that an earlier version made, which gets the columns that it lacks', async () => {
    await using dataset = await hub.dataset({ oversized: 'reduce' });
    using client = await connect({ masters: hub.kudu! });
    await client.alterTable(dataset.name, [
      { dropColumn: 'reduced_width' },
      { dropColumn: 'reduced_height' },
      { dropColumn: 'lens' },
    ]);
    expect(await selected(dataset, 'reduced_width is not null')).toEqual([]);
    const shown = await imagehub(['dataset', 'show', dataset.name], { env: hub.env });
    expect(shown).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('the largest rendition that fits'),
    });
    await dataset.deliver([{ key: 'large.png', value: LARGE }]);
    expect(await kuduColumns(dataset, ['reduced_width', 'lens'])).toMatchObject({
      'large.png': { reduced_width: expect.any(Number), lens: null },
    });
  });

  test('is stored in such a table, too, when two processes come upon it at the same moment', async () => {
    await using dataset = await hub.dataset();
    using client = await connect({ masters: hub.kudu! });
    await client.alterTable(dataset.name, [{ dropColumn: 'reduced_width' }, { dropColumn: 'lens' }]);
    using connection = new KuduConnection(hub.kudu);
    const processes = [1, 2, 3].map(() => new StoreTables(connection));
    const opened = await Promise.all(processes.map((tables) => tables.get(hub.pool, dataset.name)));
    for (const { schema } of opened)
      expect([schema.has('reduced_width'), schema.has('lens')]).toEqual([true, true]);
  });

  test('of a store that takes any size there is nothing to be reduced, and it says so', async () => {
    const { stderr, status } = await imagehub(
      ['dataset', 'create', 'near', '--classes', '0..9', '--oversized', 'reduce'],
      { env: hub.env },
    );
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('images of any size') });
  });

  test('what else was to be set with it is not set either', async () => {
    const run = (...args: string[]) => imagehub(['dataset', ...args], { env: hub.env });
    expect((await run('create', 'nearby', '--classes', '0..9')).status).toBe(0);
    const { status } = await run('set', 'nearby', '--strip-location', 'on', '--oversized', 'reduce');
    expect(status).toBe(1);
    const { stdout } = await run('show', 'nearby', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ stripLocation: false });
  });
});

describe('an image over a limit that is set lower', () => {
  const hub = storeHub('kudu', { kuduMaxCellBytes: 2048 });

  test('is a dead letter, until the dataset says that it is reduced; one with too much EXIF stays one', async () => {
    await using dataset = await hub.dataset({ pgmMaxSide: 64 });
    const long = 'x'.repeat(500);
    const words = { IFD0: { ImageDescription: long, Artist: long, Copyright: long, Software: long } };
    const wordy = await placedPicture().withExifMerge(words).jpeg().toBuffer();
    await dataset.deliver([
      { key: 'large.png', value: LARGE },
      { key: 'wordy.jpg', value: wordy },
    ]);
    expect(await dataset.images()).toEqual([]);
    const [large] = await dataset.deadLetters();
    expect(large!.detail).toContain(`imagehub dataset set ${dataset.name} --oversized reduce`);
    await setOversized(hub.pool, dataset.name, 'reduce');
    const outcomes: string[] = [];
    await retryDeadLetters(hub.context, { dataset: dataset.name }, (_, outcome) => outcomes.push(outcome));
    expect(outcomes).toEqual(['inserted', 'dead']);
    expect((await dataset.images()).map(({ id }) => id)).toEqual(['large.png']);
    const [left] = await dataset.deadLetters();
    expect(left!.detail).toMatch(/^Kudu does not take it: exif has \d+ bytes.*\. Raise/);
    expect(left!.detail).not.toContain('--oversized');
  });
});
