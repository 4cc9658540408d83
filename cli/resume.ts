import { HubError } from '../errors.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { getDataset } from '../sql/datasets.ts';
import { acceptGap, acceptNewTopic, listPartitions, releasePartition } from '../sql/offsets.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';

interface Options {
  acceptGap?: boolean;
  acceptNewTopic?: boolean;
  json?: boolean;
}

export const resumeCommand: RegisterCommand = (program) => {
  program
    .command('resume <dataset>')
    .description(
      'set partitions free that the ingest stopped because messages were missing; it says which flag it needs',
    )
    .option('--accept-gap', 'messages that retention deleted before they were read are given up')
    .option('--accept-new-topic', 'the topic was made anew: take it from its first message')
    .option('--json', 'one JSON document on standard output')
    .action(async (name: string, options: Options) => {
      if (options.acceptGap && options.acceptNewTopic) {
        throw new HubError('USAGE', 'Give --accept-gap or --accept-new-topic, not both.');
      }
      await using hub = await openHub(commandContext());
      const dataset = await getDataset(hub.pool, name);
      const halted = (await listPartitions(hub.pool, name)).filter(
        ({ haltedReason }) => haltedReason !== null,
      );
      const offsets = halted.length > 0 ? await lowWatermarks(hub, dataset.topic) : new Map<number, number>();
      const resumed: { topic: string; partition: number; nextOffset: number }[] = [];
      for (const { topic, partition, nextOffset, haltedReason } of halted) {
        const low = offsets.get(partition);
        if (low === undefined) continue; // The topic has fewer partitions now; nothing can come from this one.
        let from = nextOffset;
        if (options.acceptNewTopic) await acceptNewTopic(hub.pool, topic, partition, (from = low));
        else if (options.acceptGap)
          await acceptGap(hub.pool, topic, partition, (from = Math.max(low, nextOffset)));
        else if (low <= nextOffset) await releasePartition(hub.pool, topic, partition);
        else throw new HubError('MISSED_MESSAGES', `Partition ${partition} of ${topic}: ${haltedReason}`);
        resumed.push({ topic, partition, nextOffset: from });
      }
      report(options, { dataset: name, resumed }, () =>
        resumed.length === 0
          ? `No partition of ${name} is stopped.`
          : resumed
              .map(
                ({ topic, partition, nextOffset }) =>
                  `${topic}/${partition} goes on at offset ${nextOffset}.`,
              )
              .join('\n'),
      );
    });
};

async function lowWatermarks(
  hub: Awaited<ReturnType<typeof openHub>>,
  topic: string,
): Promise<Map<number, number>> {
  const { kafka } = hub.servers;
  if (!kafka) {
    throw new HubError(
      'NO_SERVER',
      'Stopped partitions are those of Kafka topics, and there is no Kafka here.',
      {
        hint: 'Start it with imagehub up, or set IMAGEHUB_KAFKA_BROKERS.',
      },
    );
  }
  await using admin = await openKafkaAdmin(hub.config, kafka, hub.log);
  return new Map((await admin.topicOffsets(topic)).map(({ partition, low }) => [partition, low]));
}
