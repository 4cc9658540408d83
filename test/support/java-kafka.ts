import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadConfig } from '../../config.ts';
import { java } from '../../stack/java.ts';
import { mavenArtefacts } from '../../stack/maven.ts';
import { freePort, LOCALHOST } from '../../stack/ports.ts';
import { temporaryFolder } from './temporary-folder.ts';

const execute = promisify(execFile);
const MESSAGES = fileURLToPath(new URL('./java/KafkaMessages.java', import.meta.url));
/** Short-lived JVMs on a busy machine. */
const JVM = ['-Xmx256m', '-XX:TieredStopAtLevel=1'];

/** Class path of Kafka's own clients, tools and broker, from Maven; downloaded once. */
async function kafkaClasses(): Promise<string> {
  const folder = await mavenArtefacts(
    {
      folder: 'kafka-tools-4.1.0',
      title: 'Kafka’s tools for tests',
      coordinates: ['org.apache.kafka:kafka-tools:4.1.0', 'org.apache.kafka:kafka_2.13:4.1.0'],
      megabytes: 50,
    },
    {
      config: loadConfig(),
      log: (line) => console.error(line),
      signal: new AbortController().signal,
    },
  );
  return join(folder, '*');
}

/** Runs test/support/java/KafkaMessages.java. */
export async function javaMessages(...args: string[]): Promise<void> {
  await execute(java(), [...JVM, '-cp', await kafkaClasses(), MESSAGES, ...args]);
}

/** Kafka's `kafka-console-producer`: one message a line, `key|value`. */
export async function consoleProducer(
  brokers: string,
  topic: string,
  codec: string,
  lines: string[],
): Promise<void> {
  const args = ['--bootstrap-server', brokers, '--topic', topic, '--compression-codec', codec];
  const keys = ['parse.key=true', 'key.separator=|'].flatMap((property) => ['--property', property]);
  const running = execute(java(), [
    ...JVM,
    '-cp',
    await kafkaClasses(),
    'org.apache.kafka.tools.ConsoleProducer',
    ...args,
    ...keys,
  ]);
  running.child.stdin!.end(`${lines.join('\n')}\n`);
  await running;
}

export interface SaslBroker extends AsyncDisposable {
  address: string;
}

/** A broker of one's own that lets in one user, by SASL PLAIN. */
export async function startSaslBroker(username: string, password: string): Promise<SaslBroker> {
  const folder = await temporaryFolder();
  const [port, controller] = [await freePort(), await freePort()];
  const jaas = 'org.apache.kafka.common.security.plain.PlainLoginModule';
  const file = await folder.write(
    'server.properties',
    `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@${LOCALHOST}:${controller}
controller.listener.names=CONTROLLER
listeners=SASL://${LOCALHOST}:${port},CONTROLLER://${LOCALHOST}:${controller}
listener.security.protocol.map=SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl.plain.sasl.jaas.config=${jaas} required username="${username}" password="${password}" user_${username}="${password}";
offsets.topic.replication.factor=1
log.dirs=${folder.at('data')}
`,
  );
  const classes = ['-cp', await kafkaClasses()];
  const id = randomBytes(16).toString('base64url').replace(/^-/, 'A');
  await execute(java(), [...JVM, ...classes, 'kafka.tools.StorageTool', 'format', '-t', id, '-c', file]);
  const broker = spawn(java(), ['-Xmx256m', ...classes, 'kafka.Kafka', file], { stdio: 'ignore' });
  return {
    address: `${LOCALHOST}:${port}`,
    async [Symbol.asyncDispose]() {
      broker.kill('SIGKILL');
      if (broker.exitCode === null && broker.signalCode === null) await once(broker, 'exit');
      await sleep(0);
      await folder[Symbol.asyncDispose]();
    },
  };
}
