import type { Admin } from '../../ingest/kafka.ts';
import { quietKafka } from './kafka.ts';
import { type TestPipeline, until } from './pipeline.ts';

async function withAdmin<T>(brokers: string[], work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = quietKafka(brokers).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

/** What the pipeline's group has committed to Kafka: the next offset by partition; −1 where nothing. */
export const committedOffsets = ({
  brokers,
  config,
  topic,
}: Pick<TestPipeline, 'brokers' | 'config' | 'topic'>): Promise<Map<number, number>> =>
  withAdmin(brokers, async (admin) => {
    const [found] = await admin.fetchOffsets({ groupId: config.group, topics: [topic] });
    return new Map(found!.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
  });

/** Waits until exactly so many members share the partitions. */
export const untilShared = ({ brokers, config }: TestPipeline, members: number): Promise<void> =>
  withAdmin(brokers, (admin) =>
    until(
      async () => {
        // Its coordinator may not be there yet.
        const described = await admin.describeGroups([config.group]).catch(() => null);
        const group = described?.groups[0];
        return group?.state === 'Stable' && group.members.length === members;
      },
      `the group has ${members} members`,
      120_000,
    ),
  );
