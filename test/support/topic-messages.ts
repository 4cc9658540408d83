import { sourceMessage } from '../../ingest/kafka-consumer.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { quietKafka } from './kafka.ts';
import { uniqueName } from './servers.ts';

export interface TopicMessage extends SourceMessage {
  partition: number;
}

/** Everything that lies in a topic now, read by a consumer of its own; in order within each partition. */
export async function topicMessages(brokers: string[], topic: string): Promise<TopicMessage[]> {
  const kafka = quietKafka(brokers);
  const admin = kafka.admin();
  await admin.connect();
  const groupId = uniqueName('reader');
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false });
  try {
    const ends = await admin.fetchTopicOffsets(topic);
    const left = new Map(
      ends
        .filter(({ low, high }) => Number(high) > Number(low))
        .map(({ partition, high }) => [partition, Number(high)]),
    );
    const found: TopicMessage[] = [];
    if (left.size === 0) return found;
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
      consumer
        .run({
          autoCommit: false,
          eachBatch({ batch }) {
            const { partition } = batch;
            for (const message of batch.messages) {
              const { offset, timestamp, key, value, headers } = sourceMessage(message);
              found.push({ partition, offset, timestamp, key, value, headers });
            }
            if (Number(batch.lastOffset()) + 1 >= left.get(partition)!) left.delete(partition);
            if (left.size === 0) resolve();
            return Promise.resolve();
          },
        })
        .catch(reject);
    });
    return found;
  } finally {
    await consumer.disconnect();
    await admin.deleteGroups([groupId]).catch(() => undefined);
    await admin.disconnect();
  }
}
