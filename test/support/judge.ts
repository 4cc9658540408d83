import { expect } from '@jest/globals';
import { Classifier } from '../../classifier/inference.ts';
import { decode, type Pixels } from '../../images/decode.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { committedOffsets } from './consumer-group.ts';
import type { DigitMessage } from './digit-stream.ts';
import { LINEAR_MANIFEST } from './linear-model.ts';
import { TEN, type TestPipeline } from './pipeline.ts';
import { type TopicMessage, topicMessages } from './topic-messages.ts';

/** Problems shown of each kind: with thousands the first ones tell as much. */
const SHOWN = 5;

/** A linearModel that was live. */
export interface LiveModel {
  id: number;
  onnx: Uint8Array;
}

/** What is known of a stream's messages otherwise than by decoding them as the pipeline does. */
export interface JudgeOptions {
  /** What a message's row must show; null: it must be a dead letter. Else what our own decoder says of it. */
  pixelsOf?: (message: TopicMessage) => Promise<Pixels | null>;
  /** Why a message must be a dead letter; else because it is truncated. */
  reasonOf?: (message: TopicMessage) => string;
}

export interface Judged {
  rows: number;
  deadLetters: number;
}

/**
 * Proves that nothing of a stream was lost, doubled or mixed up, once all of it is taken and the last process has ended
 * in good order: reads the topic back, and compares every message with the table, the dead letters and the offsets. Predictions
 * are recomputed, one image at a time, and must be the same bits.
 * @param sent every message that was produced, in order
 * @param models what was live, in the order of the promotions: a row's promotion says which of them predicted
 */
export async function judge(
  pipeline: TestPipeline,
  sent: DigitMessage[],
  models: LiveModel[],
  { pixelsOf, reasonOf = () => 'truncated' }: JudgeOptions = {},
): Promise<Judged> {
  const messages = await topicMessages(pipeline.brokers, pipeline.topic);
  const identity = (key: string, value: Buffer) => `${key} ${value.toString('base64')}`;
  const inTopic = messages.map(({ key, value }) => identity(String(key), value!));
  expect(
    differences(
      inTopic,
      sent.map((m) => identity(m.key, m.value)),
    ),
  ).toEqual({ missing: [], tooMany: [] });

  const { maxPixels } = pipeline.config;
  const expected = await expectations(
    messages,
    models,
    await promotionsOfRows(pipeline),
    pixelsOf ?? ((message) => decoded(message.value!, maxPixels)),
  );
  const problems = [
    ...(await rowProblems(pipeline, expected.rows)),
    ...(await deadLetterProblems(pipeline, expected.deadLetters, reasonOf)),
    ...(await offsetProblems(pipeline, messages)),
  ];
  expect(problems).toEqual([]);

  const reconciliation = await pipeline.reconcile();
  expect(reconciliation).toMatchObject({
    consistent: true,
    complete: true,
    lag: 0,
    unclassified: 0,
    rows: expected.rows.size,
    deadLetters: expected.deadLetters.size,
    messages: {
      seen: messages.length,
      inserted: expected.rows.size,
      dead: expected.deadLetters.size,
      gaps: 0,
    },
  });
  return { rows: expected.rows.size, deadLetters: expected.deadLetters.size };
}

/** What the first list lacks of the second, and what it has that is not in there, or more often. */
function differences(found: string[], expected: string[]): { missing: string[]; tooMany: string[] } {
  const balance = new Map<string, number>();
  for (const text of found) balance.set(text, (balance.get(text) ?? 0) + 1);
  for (const text of expected) balance.set(text, (balance.get(text) ?? 0) - 1);
  const texts = (wanted: (count: number) => boolean) =>
    [...balance].filter(([, count]) => wanted(count)).map(([text, count]) => `${count} ${text.slice(0, 40)}`);
  const shown = (all: string[]) => (all.length > SHOWN ? [...all.slice(0, SHOWN), `of ${all.length}`] : all);
  return { missing: shown(texts((count) => count < 0)), tooMany: shown(texts((count) => count > 0)) };
}

const placeOf = ({ partition, offset }: { partition: number; offset: number }) => `${partition}/${offset}`;

/** What a row must hold, as one text each, so that a difference is readable. */
type Row = Record<'place' | 'image' | 'prediction' | 'confidence' | 'model' | 'promotion', string>;

/** Which promotion each row's prediction is said to belong to. */
async function promotionsOfRows({ pool, dataset }: TestPipeline): Promise<Map<string, number | null>> {
  const { rows } = await pool.query<{ id: string; promotion: number | null }>(
    `select id, promotion_no as promotion from ${dataset}`,
  );
  return new Map(rows.map(({ id, promotion }) => [id, promotion]));
}

/** What the topic's messages must become: rows by id, dead letters by place. */
async function expectations(
  messages: TopicMessage[],
  models: LiveModel[],
  promotions: Map<string, number | null>,
  pixelsOf: (message: TopicMessage) => Promise<Pixels | null>,
): Promise<{ rows: Map<string, Row>; deadLetters: Map<string, TopicMessage> }> {
  const classifiers: Classifier[] = [];
  const rows = new Map<string, Row>();
  const deadLetters = new Map<string, TopicMessage>();
  try {
    for (const { onnx } of models) classifiers.push(await Classifier.load(onnx, LINEAR_MANIFEST, TEN));
    // In a partition in order of their offsets, and a key has one partition: the later one replaces the earlier.
    for (const message of messages) {
      const pixels = await pixelsOf(message);
      if (pixels === null) {
        deadLetters.set(placeOf(message), message);
        continue;
      }
      const key = String(message.key);
      const known = promotions.get(key) ?? 0;
      const promotion = models[known - 1] ? known : models.length;
      const { prediction, confidence } = await classifiers[promotion - 1]!.classify([pixels]);
      rows.set(key, {
        place: placeOf(message),
        image: message.value!.toString('base64'),
        prediction: String(prediction[0]),
        confidence: String(confidence[0]),
        model: String(models[promotion - 1]!.id),
        promotion: String(promotion),
      });
    }
  } finally {
    for (const classifier of classifiers) await classifier.release();
  }
  return { rows, deadLetters };
}

async function decoded(bytes: Buffer, maxPixels: number) {
  try {
    return await decode(bytes, { maxPixels });
  } catch {
    return null;
  }
}

async function rowProblems(
  { pool, dataset, topic }: TestPipeline,
  expected: Map<string, Row>,
): Promise<string[]> {
  const { rows } = await pool.query<Row & { id: string; topic: string; epoch: number; error: string | null }>(
    `select id, source_topic as topic, source_epoch as epoch, source_partition || '/' || source_offset as place,
       image_base64 as image, prediction::text, confidence::float8, model_id::text as model,
       promotion_no::text as promotion, classify_error as error
     from ${dataset}`,
  );
  const problems: string[] = [];
  const found = new Set<string>();
  for (const { id, topic: from, epoch, error, ...row } of rows) {
    found.add(id);
    const wanted = expected.get(id);
    if (!wanted) {
      problems.push(`row ${id} comes from no message`);
      continue;
    }
    if (from !== topic || epoch !== 0) problems.push(`row ${id} comes from epoch ${epoch} of ${from}`);
    if (error !== null) problems.push(`row ${id} was not classified: ${error}`);
    for (const name of Object.keys(wanted) as (keyof Row)[]) {
      const is = String(row[name]);
      if (is !== wanted[name]) problems.push(`row ${id}: ${name} is ${is}, not ${wanted[name]}`);
    }
  }
  const missing = [...expected].filter(([id]) => !found.has(id));
  return [
    ...problems.slice(0, SHOWN),
    ...missing.slice(0, SHOWN).map(([id, { place }]) => `message ${place} (${id}) is no row`),
    ...counted('wrong rows', problems.length),
    ...counted('missing rows', missing.length),
  ];
}

async function deadLetterProblems(
  { pool, dataset }: TestPipeline,
  expected: Map<string, TopicMessage>,
  reasonOf: (message: TopicMessage) => string,
): Promise<string[]> {
  const { rows } = await pool.query<{
    partition: number;
    offset: number;
    key: Buffer;
    value: Buffer;
    stage: string;
    reason: string;
    attempts: number;
  }>(
    `select source_partition as partition, source_offset as offset, key, value, stage, reason, attempts
     from imagehub.dead_letters where dataset = $1`,
    [dataset],
  );
  const problems: string[] = [];
  const found = new Set<string>();
  for (const letter of rows) {
    const place = placeOf(letter);
    found.add(place);
    const message = expected.get(place);
    const why = `${letter.stage}, ${letter.reason}, attempts ${letter.attempts}`;
    if (!message) problems.push(`message ${place} (${letter.key}) is a dead letter for nothing: ${why}`);
    else if (!letter.key.equals(message.key!) || !letter.value.equals(message.value!)) {
      problems.push(`the dead letter of ${place} holds something else than the message`);
    } else if (why !== `decode, ${reasonOf(message)}, attempts 1`) {
      problems.push(`the dead letter of ${place} is there for the wrong reason: ${why}`);
    }
  }
  const missing = [...expected.keys()].filter((place) => !found.has(place));
  return [
    ...problems.slice(0, SHOWN),
    ...missing.slice(0, SHOWN).map((place) => `message ${place} is no dead letter`),
    ...counted('wrong dead letters', problems.length),
    ...counted('missing dead letters', missing.length),
  ];
}

/**
 * Each partition must stand at its end, with nothing begun and nothing stopped. Kafka's own offset may lag behind: the last
 * commit is refused while the group hands out its partitions, and who is ending does not wait for the next occasion.
 */
async function offsetProblems(pipeline: TestPipeline, messages: TopicMessage[]): Promise<string[]> {
  const { pool, dataset, topic, admin } = pipeline;
  const ends = await admin.topicOffsets(topic);
  const committed = await committedOffsets(pipeline);
  const states = await listPartitions(pool, dataset);
  const problems: string[] = [];
  for (const { partition, high } of ends) {
    const state = states.find((found) => found.topic === topic && found.partition === partition);
    const taken = messages.filter((message) => message.partition === partition).length;
    if (taken !== high) problems.push(`partition ${partition}: read ${taken} of ${high} messages back`);
    if (!state) {
      if (high > 0) problems.push(`partition ${partition}: never taken`);
      continue;
    }
    const { nextOffset, inFlightTo, haltedReason } = state;
    if (nextOffset !== high) problems.push(`partition ${partition}: next offset ${nextOffset}, end ${high}`);
    if (committed.get(partition)! > high) {
      problems.push(`partition ${partition}: Kafka’s offset ${committed.get(partition)}, end ${high}`);
    }
    if (inFlightTo !== null) problems.push(`partition ${partition}: in flight up to ${inFlightTo}`);
    if (haltedReason !== null) problems.push(`partition ${partition}: stopped, ${haltedReason}`);
  }
  return problems;
}

const counted = (what: string, count: number): string[] =>
  count > SHOWN ? [`${what}: ${count} in all`] : [];
