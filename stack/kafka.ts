import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '../config.ts';
import { createKafka } from '../ingest/kafka.ts';
import { createLogger } from '../log.ts';
import type { PreparedServer, ServerDefinition, StartContext } from './definition.ts';
import { classPath, java, KAFKA_FOLDER, KAFKA_VERSION } from './java.ts';
import { type Artefacts, mavenArtefacts } from './maven.ts';
import { freePort, LOCALHOST } from './ports.ts';
import { runTool } from './processes.ts';

const VERSION = KAFKA_VERSION;
const MIB = 1024 * 1024;

const ARTEFACTS: Artefacts = {
  folder: KAFKA_FOLDER,
  title: `Kafka ${VERSION}`,
  coordinates: [`org.apache.kafka:kafka_2.13:${VERSION}`],
  megabytes: 43,
};

/** Photographs come as one message each. */
const LARGEST_MESSAGE = 64 * MIB;

/** No TLS, no password, whatever the settings say about other brokers. */
const PLAIN = loadConfig({});
const SILENT = createLogger({ logLevel: 'silent', logFormat: 'json' });

/** One broker that is its own controller (KRaft). */
export const kafka: ServerDefinition = {
  name: 'kafka',
  title: `Kafka ${VERSION}`,
  usualPort: (config) => config.kafkaPort,
  stopSignals: ['SIGTERM'],
  prepare,
};

async function prepare(context: StartContext): Promise<PreparedServer> {
  const jars = classPath(join(await mavenArtefacts(ARTEFACTS, context), '*'));
  const file = join(context.folder, 'server.properties');
  const data = join(context.folder, 'data');
  const log4j = join(context.folder, 'log4j2.properties');
  await writeFile(log4j, LOG4J);
  const jvm = ['-Xms256m', '-Xmx512m', '-XX:+UseG1GC', `-Dlog4j2.configurationFile=${log4j}`, '-cp', jars];

  return {
    async command(port) {
      await writeFile(file, properties(data, port, await freePort()));
      if (!existsSync(join(data, 'meta.properties'))) {
        const id = randomBytes(16).toString('base64url').replace(/^-/, 'A');
        const format = ['kafka.tools.StorageTool', 'format', '-t', id, '-c', file];
        await runTool(java(), ['-Xmx64m', '-XX:TieredStopAtLevel=1', ...jvm.slice(3), ...format], {
          signal: context.signal,
        });
      }
      return { file: java(), args: [...jvm, 'kafka.Kafka', file] };
    },
    async probe(port) {
      const admin = createKafka(PLAIN, [`${LOCALHOST}:${port}`], SILENT, { retries: 0 }).admin();
      try {
        await admin.connect();
        const { brokers, controller } = await admin.describeCluster();
        if (brokers.length === 0 || controller === null) throw new Error('the broker is not registered yet');
      } finally {
        await admin.disconnect();
      }
    },
    url: (port) => `${LOCALHOST}:${port}`,
  };
}

const properties = (
  data: string,
  port: number,
  controllerPort: number,
): string => `# Written by imagehub at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@${LOCALHOST}:${controllerPort}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://${LOCALHOST}:${port},CONTROLLER://${LOCALHOST}:${controllerPort}
advertised.listeners=PLAINTEXT://${LOCALHOST}:${port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${data}
# A topic that does not exist is an error, not a new topic.
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
# One machine, few groups: the usual 50 partitions would only cost files and time at start.
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Consumers of a new group start at once instead of waiting for others to join.
group.initial.rebalance.delay.ms=0
message.max.bytes=${LARGEST_MESSAGE}
replica.fetch.max.bytes=${LARGEST_MESSAGE}
socket.request.max.bytes=${2 * LARGEST_MESSAGE}
# The data are a copy of what was sent; the operating system flushes. Keep a month of it.
log.retention.hours=720
log.cleaner.dedupe.buffer.size=${16 * MIB}
`;

const LOG4J = `status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=INFO
`;
