import { describe, expect, test } from '@jest/globals';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, testIndex } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';
import { createDataset, dropDataset } from '../../sql/datasets.ts';

const DAY = new Date('2026-02-03T04:05:06.789Z');

describe('the running indexer', () => {
  test('makes a document of every column of a row, with class names beside indexes', async () => {
    await using index = await testIndex();
    index.start();
    await insertImage(index.pool, 'mnist', {
      id: 'a/ü.png',
      prediction: 3,
      confidence: 0.75,
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
      aperture: 1.8,
      exposure_time: 0.004,
      iso: 200,
      focal_length: 50,
      captured_at: DAY,
      latitude: 48.5,
      longitude: 9.25,
      camera: 'Gate 4',
      exif: { Photo: { ISO: 100 } },
      source_topic: 'mnist',
      source_partition: 1,
      source_offset: 42,
      source_timestamp: DAY,
    });
    await index.inStep();

    const iso = DAY.toISOString();
    expect(await index.document('a/ü.png')).toEqual({
      dataset: 'mnist',
      id: 'a/ü.png',
      prediction: 3,
      predicted_class: '3',
      known_label: 5,
      known_class: '5',
      correct: false,
      confidence: 0.75,
      model_id: 7,
      promotion_no: 2,
      predicted_at: iso,
      labelled_by: expect.any(String),
      labelled_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      format: 'jpeg',
      width: 640,
      height: 480,
      channels: 3,
      byte_size: 12345,
      sha256: '00ff'.repeat(16),
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
      aperture: 1.8,
      exposure_time: 0.004,
      iso: 200,
      focal_length: 50,
      captured_at: iso,
      latitude: 48.5,
      longitude: 9.25,
      location: { lat: 48.5, lon: 9.25 },
      camera: 'Gate 4',
      exif: { Photo: { ISO: 100 } },
      source_topic: 'mnist',
      source_partition: 1,
      source_offset: 42,
      source_timestamp: iso,
      ingested_at: expect.stringMatching(/Z$/),
      revision: expect.any(Number),
    });
    const near = await index.client.search({
      index: `${index.config.indexPrefix}-mnist`,
      query: {
        bool: {
          filter: [
            { geo_distance: { distance: '10km', location: { lat: 48.51, lon: 9.26 } } },
            { term: { 'exif.Photo.ISO': '100' } },
            { term: { dominant_colours: '#336699' } },
            { term: { over_exposed: true } },
            { range: { aperture: { lt: 2 } } },
          ],
        },
      },
    });
    expect(near.hits.total).toMatchObject({ value: 1 });
  });

  test('follows inserts, updates, relabelling, deletion and insertion of the same id again', async () => {
    await using index = await testIndex();
    const { pool } = index;
    index.start();
    await insertImage(pool, 'mnist', { id: 'a', known_label: 3, prediction: 3 });
    await insertImage(pool, 'mnist', { id: 'b' });
    await index.inStep();
    expect(await index.document('a')).toMatchObject({ known_class: '3', correct: true });
    expect(await index.document('b')).not.toHaveProperty('predicted_class');

    await pool.query("update mnist set known_label = 4 where id = 'a'");
    await index.inStep();
    expect(await index.document('a')).toMatchObject({ known_class: '4', correct: false });

    await pool.query("delete from mnist where id = 'a'");
    await index.inStep();
    expect(await index.document('a')).toBeUndefined();

    await insertImage(pool, 'mnist', { id: 'a', known_label: 9 });
    await index.inStep();
    expect(await index.document('a')).toMatchObject({ known_class: '9' });

    await pool.query("begin; delete from mnist where id = 'a'; commit");
    await pool.query(
      "begin; insert into mnist (id, image_base64, image_pgm) values ('a', '', ''); delete from mnist where id = 'a'; commit",
    );
    await index.inStep();
    expect(await index.document('a')).toBeUndefined();
    expect(await index.document('b')).toBeDefined();
  });

  test('a change can be found within two seconds', async () => {
    await using index = await testIndex();
    index.start();
    await insertImage(index.pool, 'mnist', { id: 'first' });
    await index.inStep();
    const findTakesMs = async (id: string) => {
      const started = performance.now();
      await insertImage(index.pool, 'mnist', { id });
      await until(async () => {
        // No refresh here: this is what a dashboard sees.
        const found = await index.client.count({
          index: `${index.config.indexPrefix}-mnist`,
          query: { term: { id } },
        });
        return found.count === 1;
      }, 'the document is found');
      return performance.now() - started;
    };
    // How it is as a rule is for the benchmark to say: here other tests compete for the processor.
    let fastest = Infinity;
    for (let i = 0; i < 20 && fastest >= 2000; i++)
      fastest = Math.min(fastest, await findTakesMs(`timed-${i}`));
    expect(fastest).toBeLessThan(2000);
  });

  test('deletes and inserts that race for the same ids end alike in table and index', async () => {
    await using index = await testIndex();
    const { pool } = index;
    index.start();
    const ids = ['x', 'y', 'z'];
    const racer = async (seed: number) => {
      for (let i = 0; i < 40; i++) {
        const id = ids[(i * 7 + seed) % ids.length]!;
        if ((i + seed) % 2 === 0) await pool.query('delete from mnist where id = $1', [id]);
        else {
          await pool.query(
            `insert into mnist (id, image_base64, image_pgm, object_count) values ($1, '', '', $2)
             on conflict (dataset, id) do update set object_count = excluded.object_count`,
            [id, i * 10 + seed],
          );
        }
      }
    };
    await Promise.all([0, 1, 2, 3].map(racer));
    await index.inStep();
    const { rows } = await pool.query<{ id: string; object_count: number; revision: number }>(
      'select id, object_count, revision from mnist',
    );
    for (const id of ids) {
      const row = rows.find((candidate) => candidate.id === id);
      const document = await index.document(id);
      expect(document && { id, object_count: document.object_count, revision: document.revision }).toEqual(
        row,
      );
    }
  });

  test('catches up after being off', async () => {
    await using index = await testIndex();
    const { pool } = index;
    const first = index.start();
    await insertRows(pool, 3000);
    await index.inStep();
    await first.stop();

    await insertRows(pool, 3000, 'later');
    await pool.query("update mnist set known_label = 1 where id like 'image%' and known_label = 2");
    await pool.query("delete from mnist where id like 'image%' and known_label = 3");
    expect((await index.reconcile()).equal).toBe(false);
    index.start();
    await index.inStep();
    expect(await index.document('later2999')).toBeDefined();
  });

  test('keeps a large exif that an update does not touch, and so is not in the feed', async () => {
    await using index = await testIndex();
    const { pool } = index;
    index.start();
    // Random text does not compress: it is stored out of line, which a short exif is not.
    const exif = { note: Buffer.from(crypto.getRandomValues(new Uint8Array(30_000))).toString('base64') };
    await insertImage(pool, 'mnist', { id: 'big', exif });
    await index.inStep();
    await pool.query("update mnist set prediction = 8 where id = 'big'");
    await index.inStep();
    expect(await index.document('big')).toMatchObject({ exif, predicted_class: '8' });

    await pool.query("update mnist set prediction = 7 where id = 'big'; delete from mnist where id = 'big'");
    await index.inStep();
    expect(await index.document('big')).toBeUndefined();
  });

  test('a document that Elasticsearch refuses is recorded and holds up nothing', async () => {
    await using index = await testIndex();
    const { pool } = index;
    const indexer = index.start();
    // Deeper than the 20 levels that a flattened field takes.
    let exif: unknown = 'bottom';
    for (let level = 0; level < 30; level++) exif = { deeper: exif };
    await insertImage(pool, 'mnist', { id: 'good1' });
    await insertImage(pool, 'mnist', { id: 'deep', exif });
    await insertImage(pool, 'mnist', { id: 'good2' });
    await until(async () => (await index.document('good2')) !== undefined, 'the neighbour is indexed');

    const deadDocuments = () => pool.query('select dataset, id, error from imagehub.index_dead_documents');
    await until(async () => (await deadDocuments()).rowCount! > 0, 'the refusal is recorded');
    const dead = await deadDocuments();
    expect(dead.rows).toEqual([{ dataset: 'mnist', id: 'deep', error: expect.stringMatching(/depth/) }]);
    await until(
      () => Promise.resolve(indexer.lines.some(({ id, msg }) => id === 'deep' && /refused/.test(msg))),
      'the log tells of it',
    );
    expect(await index.reconcile()).toMatchObject({ rows: 3, documents: 2, deadDocuments: 1, equal: false });
    await until(async () => {
      const { rows } = await pool.query<{ last_error: string | null }>(
        'select last_error from imagehub.index_state',
      );
      return /^deep: /.test(rows[0]?.last_error ?? '');
    }, 'the state names it');

    await pool.query("update mnist set exif = null where id = 'deep'");
    await index.inStep();
    await until(
      async () => (await pool.query('select from imagehub.index_dead_documents')).rowCount === 0,
      'the refusal is forgotten',
    );
  });

  test('values that Elasticsearch cannot index keep no image out', async () => {
    await using index = await testIndex();
    index.start();
    await insertImage(index.pool, 'mnist', {
      id: 'odd',
      latitude: 95,
      longitude: 500,
      captured_at: '294000-01-01T00:00:00Z',
      source_timestamp: '12026-01-01T00:00:00Z',
      predicted_at: 'infinity',
      pixel_mean: 'NaN',
      entropy: 'Infinity',
      camera: 'x'.repeat(40_000),
      exif: JSON.stringify([1, 2]),
    });
    await index.inStep();
    expect(await index.document('odd')).toMatchObject({
      latitude: 95,
      longitude: 500,
      exif: { value: [1, 2] },
    });
    expect(await index.document('odd')).not.toHaveProperty('location');
  });

  test('makes the index of a dataset that is created while it runs, and removes that of a dropped one', async () => {
    await using index = await testIndex();
    const { pool, client, config } = index;
    index.start();
    await createDataset(pool, { name: 'birds', classes: ['wren', 'robin'] });
    await insertImage(pool, 'birds', { id: 'a', prediction: 1 });
    await index.inStep('birds');
    expect(await index.document('a', 'birds')).toMatchObject({ predicted_class: 'robin' });

    await dropDataset(pool, 'birds');
    await until(
      async () => !(await client.indices.exists({ index: `${config.indexPrefix}-birds-000001` })),
      'the index is removed',
    );
    await until(async () => {
      const left = await pool.query("select from imagehub.index_state where dataset = 'birds'");
      return left.rowCount === 0;
    }, 'nothing is remembered of it');
  });

  test('a dataset that was dropped and made again shows nothing of the old one, on or off', async () => {
    await using index = await testIndex();
    const { pool } = index;
    const first = index.start();
    await insertImage(pool, 'mnist', { id: 'old' });
    await index.inStep();
    const again = async () => {
      await dropDataset(pool, 'mnist');
      await createDataset(pool, { name: 'mnist', classes: ['a', 'b'] });
      await insertImage(pool, 'mnist', { id: 'new', prediction: 1 });
    };
    await again();
    await index.inStep();
    expect(await index.document('old')).toBeUndefined();
    expect(await index.document('new')).toMatchObject({ predicted_class: 'b' });

    await first.stop();
    await insertImage(pool, 'mnist', { id: 'unseen' });
    await again();
    index.start();
    await index.inStep();
    expect(await index.document('unseen')).toBeUndefined();
    expect(await index.document('new')).toBeDefined();
  });

  test('counts what it did', async () => {
    await using index = await testIndex();
    const indexer = index.start();
    await insertRows(index.pool, 10);
    await index.inStep();
    await index.pool.query("delete from mnist where id = 'image3'");
    await index.inStep();
    await until(async () => {
      const text = await indexer.metrics.registry.metrics();
      return (
        text.includes('imagehub_index_documents_total{dataset="mnist",outcome="deleted"} 1') &&
        /imagehub_index_lag_bytes \d+/.test(text)
      );
    }, 'the metrics tell of it');
  });
});
