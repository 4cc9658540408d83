import { setTimeout as sleep } from 'node:timers/promises';
import type { Hub } from '../cli/hub.ts';
import { HubError } from '../errors.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { createDataset, dropDataset, listDatasets } from '../sql/datasets.ts';

export const DATASET = 'mnist';
const CLASSES = [...'0123456789'];

/** The table's comment, by which the demo knows its own dataset again. */
const MARK = 'Made by imagehub’s demo, which replaces it when it runs again.';

/** Kafka takes a second or two to delete a topic. */
const TOPIC_GONE_MS = 60_000;

/**
 * The demo's dataset, empty, with an empty topic. What somebody else made under its name is not touched: neither a
 * dataset nor a topic, nor the demo's own dataset once it holds a person's images, labels or models.
 * @throws HubError ALREADY_EXISTS
 */
export async function freshDataset({ pool, servers, config, log }: Hub): Promise<void> {
  const exists = (await listDatasets(pool)).some(({ name }) => name === DATASET);
  const why = exists ? await notOurs(pool) : null;
  if (why !== null) throw taken(`There is a dataset ${DATASET} here ${why}; the demo would replace it.`);

  await using admin = servers.kafka ? await openKafkaAdmin(config, servers.kafka, log) : null;
  if (admin && (await admin.topicExists(DATASET))) {
    if (!exists) throw taken(`There is a topic ${DATASET} in this Kafka; the demo would replace it.`);
    await admin.deleteTopic(DATASET);
    for (let waited = 0; await admin.topicExists(DATASET); waited += 100) {
      if (waited > TOPIC_GONE_MS) {
        throw new HubError('SERVER_UNREACHABLE', 'Kafka does not finish deleting the old topic.');
      }
      await sleep(100);
    }
  }
  if (exists) await dropDataset(pool, DATASET);
  await createDataset(pool, { name: DATASET, classes: CLASSES, labelFrom: 'first-character' });
  await pool.query(`comment on table mnist is '${MARK}'`);
  await admin?.createTopic(DATASET, config.topicPartitions);
}

/** Why the dataset that is there is not the demo's to replace; null when it is. */
async function notOurs(pool: Hub['pool']): Promise<string | null> {
  const { rows } = await pool.query<{ mark: string | null; images: number; labels: number; models: number }>(
    `select obj_description('public.mnist'::regclass) as mark,
            (select count(*) from mnist where id !~ '^(training|unseen)/[0-9]-[0-9]{4}\\.png$') as images,
            (select count(*) from mnist where labelled_by is not null) as labels,
            (select count(*) from imagehub.models where dataset = 'mnist') as models`,
  );
  const { mark, images, labels, models } = rows[0]!;
  if (mark !== MARK) return 'that the demo did not make';
  if (images > 0) return `with images of yours (${images})`;
  if (labels > 0) return `with labels that a person set (${labels})`;
  // The demo trains one.
  return models > 1 ? `with models of yours (${models - 1})` : null;
}

const taken = (message: string) =>
  new HubError('ALREADY_EXISTS', message, {
    hint: 'Give the demo a folder of its own: IMAGEHUB_HOME=.imagehub/demo npm run demo',
  });
