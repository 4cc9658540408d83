import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { Classifier } from '../../classifier/inference.ts';
import { registerModel } from '../../classifier/registry.ts';
import { setShadow } from '../../classifier/shadow.ts';
import { decode } from '../../images/decode.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { withSeed } from '../support/fault-mode.ts';
import { runProcess } from '../support/ingest-process.ts';
import { judgedStream } from '../support/judged-stream.ts';
import { inFlight, killAmidBatch } from '../support/killing.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { TEN, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const KILLS = 3;
const PER_ROUND = 800;
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '40' };

const taken = async ({ pool, dataset }: TestPipeline) =>
  (await listPartitions(pool, dataset)).reduce((sum, { nextOffset }) => sum + nextOffset, 0);

interface Row {
  id: string;
  image: string;
  prediction: number | null;
  confidence: number | null;
  same: boolean | null;
}

/** Rows whose shadow prediction is not the one that the model gives for the bytes in the row. */
async function problems({ pool, config }: TestPipeline, onnx: Uint8Array, model: number): Promise<string[]> {
  const classifier = await Classifier.load(onnx, LINEAR_MANIFEST, TEN);
  const { rows } = await pool.query<Row>(
    `select i.id, i.image_base64 as image, p.prediction, p.confidence, p.sha256 = i.sha256 as same
     from digits i left join imagehub.predictions p on p.id = i.id and p.model_id = $1`,
    [model],
  );
  const found: string[] = [];
  for (const { id, image, prediction, confidence, same } of rows) {
    const pixels = await decode(Buffer.from(image, 'base64'), { maxPixels: config.maxPixels });
    const expected = await classifier.classify([pixels]);
    const wanted = `${expected.prediction[0]} ${Math.fround(expected.confidence[0]!)} true`;
    const is = `${prediction} ${Math.fround(confidence ?? 0)} ${same}`;
    if (is !== wanted) found.push(`${id}: ${is}, not ${wanted}`);
  }
  await classifier.release();
  return found;
}

test(
  'killed −9 in the middle of a stream, again and again: every row has its own prediction by the shadow, and nothing else has',
  () =>
    withSeed(async (random) => {
      await using pipeline = await testPipeline({ partitions: 3 });
      const { pool } = pipeline;
      const { send, judge } = await judgedStream(pipeline);
      const onnx = linearModel(2);
      const shadow = await registerModel(pool, {
        dataset: 'digits',
        onnx,
        manifest: LINEAR_MANIFEST,
        source: 'test',
      });
      await setShadow(pool, 'digits', shadow);

      for (let kill = 0; kill < KILLS; kill++) {
        await send(PER_ROUND / 2);
        const [before, takenBefore] = [await inFlight(pipeline), await taken(pipeline)];
        const victim = await runProcess(pipeline, SETTINGS);
        await until(async () => (await taken(pipeline)) > takenBefore, 'it works', 120_000, 5);
        let killed = false;
        const producing = (async () => {
          while (!killed) {
            await send(40);
            await sleep(random() * 20);
          }
        })();
        try {
          await killAmidBatch(pipeline, victim, random, { before, otherProcesses: false });
        } finally {
          killed = true;
          await producing;
        }
      }
      const last = await runProcess(pipeline, SETTINGS);
      await pipeline.drained();
      expect(await last.kill('SIGTERM')).toBe(0);

      const { rows } = await judge();
      expect((await problems(pipeline, onnx, shadow)).slice(0, 5)).toEqual([]);
      const { rows: counts } = await pool.query<{ predictions: number }>(
        'select count(*) as predictions from imagehub.predictions',
      );
      expect(counts).toEqual([{ predictions: rows }]);
    }),
  600_000,
);
