import { describe, expect, test } from '@jest/globals';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { insertImage } from '../support/image-rows.ts';
import { goLive, testPipeline, until } from '../support/pipeline.ts';

describe('rows that are all new', () => {
  test('and of which another transaction inserts one at the same moment: that one is compared, none is a dead letter', async () => {
    await using pipeline = await testPipeline();
    const { pool, dataset } = pipeline;
    const other = await pool.connect();
    try {
      await other.query("begin; set local imagehub.writer = 'ingest'");
      await insertImage(other, dataset, {
        id: '1.png',
        source_topic: 'another',
        source_partition: 0,
        source_epoch: 0,
        source_offset: 5,
        source_timestamp: new Date(0),
      });
      await pipeline.produce([0, 1, 2].map((i) => ({ key: `${i}.png`, value: digitPng(i, i) })));
      await pipeline.startIngest();
      await until(async () => {
        const { rows } = await pool.query<{ waiting: number }>(
          "select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return rows[0]!.waiting > 0;
      }, 'the batch waits for the key');
      await other.query('commit');
    } finally {
      other.release();
    }
    await pipeline.drained();
    const { messages, deadLetters } = await pipeline.reconcile();
    expect({ ...messages, deadLetters }).toMatchObject({ inserted: 2, updated: 1, deadLetters: 0 });
    const { rows } = await pool.query(`select id from ${dataset} where image_base64 <> '' order by id`);
    expect(rows).toEqual([{ id: '0.png' }, { id: '1.png' }, { id: '2.png' }]);
  });

  test('with classic columns keep picture, prediction and label, and nothing that is measured', async () => {
    await using pipeline = await testPipeline({ columns: 'classic', labelFrom: 'first-character' });
    const model = await goLive(pipeline.pool, pipeline.dataset, constantModel(6));
    const png = digitPng(3, 1);
    await pipeline.produce([{ key: '3.png', value: png }]);
    await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pipeline.pool.query<Record<string, unknown>>(`select * from ${pipeline.dataset}`);
    expect(rows[0]).toMatchObject({
      id: '3.png',
      image_base64: png.toString('base64'),
      prediction: 6,
      confidence: expect.any(Number),
      model_id: model,
      known_label: 3,
      width: 28,
      sha256: null,
      phash: null,
      scores: null,
      entropy: null,
      object_count: null,
    });
    expect((rows[0]!.image_pgm as Buffer).subarray(0, 13).toString('latin1')).toBe('P5\n28 28\n255\n');
  });
});
