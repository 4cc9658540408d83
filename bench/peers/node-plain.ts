/**
 * What most people would write: kafkajs `eachMessage`, sharp, onnxruntime, one insert per image.
 *
 * node bench/peers/node-plain.ts TOPIC N, with KAFKA (brokers), PGURL and MODEL (an ONNX file with an input [N, 784] and an
 * output [N, 10] of probabilities) in the environment. kafkajs commits an offset when its message's row is committed, every
 * second or so: at least once, and a message that comes again replaces its row. Prints the rate from the first message to
 * the last commit.
 */
import { readFile } from 'node:fs/promises';
import { Kafka, logLevel } from 'kafkajs';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import pg from 'pg';
import sharp from 'sharp';

const THRESHOLD = 30;
const CLASSES = 10;

const [topic = '', count = '0'] = process.argv.slice(2);
const { KAFKA = '127.0.0.1:9092', PGURL = '', MODEL = '' } = process.env;

const db = new pg.Client({ connectionString: PGURL });
await db.connect();
await db.query('drop table if exists peer_node');
await db.query(
  `create table peer_node (id text primary key, image_base64 text not null, image_pgm bytea not null,
     prediction int not null default -1, known_label int, confidence real)`,
);
const session = await InferenceSession.create(await readFile(MODEL), { intraOpNumThreads: 1 });
const input = session.inputNames[0]!;
const output = session.outputNames[0]!;

async function store(id: string, bytes: Buffer, knownLabel: number | null): Promise<void> {
  const { data, info } = await sharp(bytes).greyscale().raw().toBuffer({ resolveWithObject: true });
  const pixels = Float32Array.from(data, (value) => (value > THRESHOLD ? 1 : 0));
  const results = await session.run({ [input]: new Tensor('float32', pixels, [1, pixels.length]) });
  const scores = results[output]!.data as Float32Array;
  let prediction = 0;
  for (let index = 1; index < CLASSES; index++) if (scores[index]! > scores[prediction]!) prediction = index;
  const pgm = Buffer.concat([Buffer.from(`P5\n${info.width} ${info.height}\n255\n`), data]);
  await db.query(
    `insert into peer_node (id, image_base64, image_pgm, prediction, known_label, confidence)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (id) do update set image_base64 = excluded.image_base64, image_pgm = excluded.image_pgm,
       prediction = excluded.prediction, known_label = excluded.known_label, confidence = excluded.confidence`,
    [id, bytes.toString('base64'), pgm, prediction, knownLabel, scores[prediction]],
  );
}

const kafka = new Kafka({ clientId: 'peer-node', brokers: KAFKA.split(','), logLevel: logLevel.ERROR });
const consumer = kafka.consumer({ groupId: `peer-node-${Date.now()}` });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });

let done = 0;
let began = 0;
const finished = Promise.withResolvers<void>();
await consumer.run({
  autoCommitInterval: 1000,
  eachMessage: async ({ message: { key, value, headers } }) => {
    began ||= performance.now();
    const label = headers?.['known-label'];
    await store(key!.toString(), value!, label === undefined ? null : Number(label.toString()));
    if (++done === Number(count)) finished.resolve();
  },
});
await finished.promise;
console.log(`${Math.round((done / (performance.now() - began)) * 1000)} images/s`);
await consumer.disconnect();
await db.end();
