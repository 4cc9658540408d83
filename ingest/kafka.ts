import { createRequire } from 'node:module';
import kafkajs from 'kafkajs';
import type { Admin, Kafka, LogEntry, RetryOptions, SASLOptions } from 'kafkajs';
import pRetry from 'p-retry';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import './kafka-fetch.ts';
import { type Codec, lz4Codec, snappyCodec, zstdCodec } from './kafka-codecs.ts';

// Who talks to Kafka imports kafkajs from here, with the codecs registered and a fault patched.
export type { Admin, Consumer, EachBatchPayload, Kafka, KafkaMessage, Producer } from 'kafkajs';
export const { Partitioners } = kafkajs;

/** What `--compression` takes → kafkajs's type. gzip is built into kafkajs; the others are registered below. */
export const COMPRESSIONS = {
  none: kafkajs.CompressionTypes.None,
  gzip: kafkajs.CompressionTypes.GZIP,
  snappy: kafkajs.CompressionTypes.Snappy,
  lz4: kafkajs.CompressionTypes.LZ4,
  zstd: kafkajs.CompressionTypes.ZSTD,
} as const;
export type Compression = keyof typeof COMPRESSIONS;

const register = (compression: 'snappy' | 'lz4' | 'zstd', { compress, decompress }: Codec) => {
  kafkajs.CompressionCodecs[COMPRESSIONS[compression]] = () => ({
    compress: (encoder: { buffer: Buffer }) => compress(encoder.buffer),
    decompress,
  });
};
register('snappy', snappyCodec);
register('lz4', lz4Codec);
register('zstd', zstdCodec);

// kafkajs 2.2.4 re-arms this timer for ever, with a negative delay (1 ms in effect, and a warning from Node 24),
// although only waiting requests need it; `push` arms it again when there are some.
const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
  prototype: { pending: unknown[]; scheduleCheckPendingRequests(): void };
};
const schedule = RequestQueue.prototype.scheduleCheckPendingRequests;
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.pending.length > 0) schedule.call(this);
};

// kafkajs 2.2.4 passes over fetches that hold nothing but aborted messages and transaction markers, and tells nobody:
// at the end of a topic our offset would stay before them for ever. Handed over as batches without messages, they are
// taken like any other gap. (What compaction has emptied is still passed over: it is never the end of a topic.)
const Batch = createRequire(import.meta.url)('kafkajs/src/consumer/batch') as {
  prototype: { isEmpty(): boolean; isEmptyIncludingFiltered(): boolean };
};
Batch.prototype.isEmpty = function () {
  return this.isEmptyIncludingFiltered();
};

/** For work that waits for Kafka to come back (ingest, a long send): 0.2 s doubling to 5 s, about 40 s in all. */
export const PATIENT: RetryOptions = { initialRetryTime: 200, maxRetryTime: 5000, retries: 12 };
/** For a command that should say soon that nobody answers: about a second. */
export const BRIEF: RetryOptions = { initialRetryTime: 200, maxRetryTime: 1000, retries: 2 };

/** Just after a partition was made or moved, its broker may not know yet that it leads it, nor another that there is such a topic: in all 6 s. */
const NEW_LEADER = { retries: 6, minTimeout: 100, factor: 2 };

/**
 * kafkajs reports each failed attempt as an error although it tries again. What it tries again after a while is worth
 * a warning; a broker's refusal is thrown as well, and whoever catches it says what it means.
 */
const LOG_LEVELS = {
  [kafkajs.logLevel.ERROR]: 'warn',
  [kafkajs.logLevel.WARN]: 'debug',
  [kafkajs.logLevel.INFO]: 'debug',
  [kafkajs.logLevel.DEBUG]: 'trace',
  [kafkajs.logLevel.NOTHING]: 'trace',
} as const;

/** A client by the settings (TLS, SASL); all its logs go to `log`. It connects when a consumer, producer or admin does. */
export function createKafka(
  config: Config,
  brokers: string[],
  log: Logger,
  retry: RetryOptions = PATIENT,
): Kafka {
  const kafkaLog = log.child({ part: 'kafka' });
  return new kafkajs.Kafka({
    clientId: 'imagehub',
    brokers,
    ssl: config.kafkaSsl,
    ...saslOptions(config),
    retry,
    connectionTimeout: 5000,
    logLevel: kafkaLog.isLevelEnabled('trace') ? kafkajs.logLevel.DEBUG : kafkajs.logLevel.INFO,
    logCreator: () => (entry: LogEntry) => {
      const { message, timestamp: _timestamp, logger: _logger, stack: _stack, ...details } = entry.log;
      const thrown =
        retry === BRIEF ||
        'correlationId' in entry.log ||
        (entry.namespace === 'Producer' && !message.startsWith('Failed to send'));
      kafkaLog[thrown ? 'debug' : LOG_LEVELS[entry.level]](details, message);
    },
  });
}

function saslOptions(config: Config): { sasl?: SASLOptions } {
  if (config.kafkaUsername === undefined) return {};
  if (config.kafkaPassword === undefined) {
    throw new HubError('CONFIG_INVALID', 'IMAGEHUB_KAFKA_USERNAME is set, but not IMAGEHUB_KAFKA_PASSWORD.');
  }
  const { kafkaSaslMechanism: mechanism, kafkaUsername: username, kafkaPassword: password } = config;
  return { sasl: { mechanism, username, password } as SASLOptions };
}

/** The error and the causes kafkajs wrapped it around, outermost first. */
function* causes(error: unknown): Generator<Error & { type?: string; code?: unknown }> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    yield cause;
    if ('errors' in cause && Array.isArray(cause.errors)) yield* cause.errors as Error[];
  }
}

/** Whether the broker's answer was one of these protocol errors, e.g. MESSAGE_TOO_LARGE. */
export const isKafkaError = (error: unknown, ...types: string[]): boolean =>
  [...causes(error)].some(({ type }) => type !== undefined && types.includes(type));

/** What kafkajs throws when nobody answers, or not in time. */
const UNREACHABLE = [
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSNumberOfRetriesExceeded',
  'KafkaJSBrokerNotFound',
  'KafkaJSNoBrokerAvailableError',
  'KafkaJSMetadataNotLoaded',
  'KafkaJSGroupCoordinatorNotFound',
  'KafkaJSLockTimeout',
];

/** What went wrong at Kafka, as an error that says what to do; anything that is no failure of Kafka stays as it is. */
export function kafkaError(error: unknown, brokers: string[], topic?: string): unknown {
  if (error instanceof HubError) return error;
  const chain = [...causes(error)];
  const names = new Set(chain.map(({ name }) => name));
  const detail = errorText(chain.at(-1));
  const at = `Kafka at ${brokers.join(',')}`;
  const about = topic === undefined ? '' : ` topic ${topic}`;
  if (
    names.has('KafkaJSSASLAuthenticationError') ||
    isKafkaError(error, 'SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE')
  ) {
    return new HubError('ACCESS_DENIED', `${at} refused the user or password: ${detail}`, {
      hint: 'Check IMAGEHUB_KAFKA_USERNAME, IMAGEHUB_KAFKA_PASSWORD and IMAGEHUB_KAFKA_SASL_MECHANISM.',
      cause: error,
    });
  }
  const denied = ['TOPIC', 'CLUSTER', 'GROUP'].map((what) => `${what}_AUTHORIZATION_FAILED`);
  if (isKafkaError(error, ...denied)) {
    return new HubError('ACCESS_DENIED', `${at} does not allow this user${about || ' that'}: ${detail}`, {
      hint: 'Ask for the access (ACL) on the Kafka side, or set another IMAGEHUB_KAFKA_USERNAME.',
      cause: error,
    });
  }
  if (isKafkaError(error, 'UNKNOWN_TOPIC_OR_PARTITION')) return topicMissing(topic ?? '?', brokers, error);
  if (isKafkaError(error, 'INVALID_TOPIC_EXCEPTION')) {
    return new HubError('USAGE', `“${topic}” cannot be a topic’s name: ${detail}`, {
      hint: 'Topics take letters, digits, “.”, “_” and “-”, at most 249 of them.',
      cause: error,
    });
  }
  if (
    isKafkaError(
      error,
      'INVALID_REPLICATION_FACTOR',
      'INVALID_PARTITIONS',
      'POLICY_VIOLATION',
      'INVALID_CONFIG',
    )
  ) {
    return new HubError('USAGE', `${at} refused to make${about}: ${detail}`, { cause: error });
  }
  if (!UNREACHABLE.some((name) => names.has(name))) return error;
  return new HubError('SERVER_UNREACHABLE', `${at} cannot be reached: ${detail}`, {
    hint: 'Is it running? imagehub status shows the local servers, imagehub up starts them. IMAGEHUB_KAFKA_BROKERS names others; some want IMAGEHUB_KAFKA_SSL or IMAGEHUB_KAFKA_USERNAME.',
    cause: error,
  });
}

export function topicMissing(topic: string, brokers: string[], cause?: unknown): HubError {
  return new HubError('NOT_FOUND', `Kafka at ${brokers.join(',')} has no topic ${topic}.`, {
    hint: 'imagehub dataset create makes a dataset with its topic; imagehub dataset make-topic DATASET makes only the topic.',
    cause,
  });
}

export interface TopicOffsets {
  partition: number;
  /** Offset of the oldest message that is still there. */
  low: number;
  /** Offset that the next message will get. */
  high: number;
}

/** Topics of one cluster; errors are HubErrors. */
export interface KafkaAdmin extends AsyncDisposable {
  /** Makes the topic; false when it was there already (and stays as it is). `replication` −1: the broker's default. */
  createTopic(topic: string, partitions: number, replication?: number): Promise<boolean>;
  /** Deletes the topic with its messages; false when there is none. */
  deleteTopic(topic: string): Promise<boolean>;
  topicExists(topic: string): Promise<boolean>;
  /** By partition. @throws HubError NOT_FOUND */
  topicOffsets(topic: string): Promise<TopicOffsets[]>;
  /** The largest record batch the topic takes, bytes (`max.message.bytes`). @throws HubError NOT_FOUND */
  maxMessageBytes(topic: string): Promise<number>;
  close(): Promise<void>;
}

/** @throws HubError SERVER_UNREACHABLE within seconds, ACCESS_DENIED */
export async function openKafkaAdmin(config: Config, brokers: string[], log: Logger): Promise<KafkaAdmin> {
  const admin: Admin = createKafka(config, brokers, log, BRIEF).admin();
  const attempt = async <T>(work: () => Promise<T>, topic?: string): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw kafkaError(error, brokers, topic);
    }
  };
  // Asking for one topic's metadata would let a broker with auto.create.topics.enable make it.
  const topicExists = (topic: string) => attempt(async () => (await admin.listTopics()).includes(topic));
  const requireTopic = async (topic: string) => {
    if (!(await topicExists(topic))) throw topicMissing(topic, brokers);
  };
  await attempt(() => admin.connect());
  return {
    topicExists,
    createTopic: (topic, numPartitions, replicationFactor = -1) =>
      attempt(async () => {
        const configEntries = [{ name: 'max.message.bytes', value: String(config.topicMessageBytes) }];
        const isNew = await admin.createTopics({
          // kafkajs would wait for leaders, but fail where the broker that it asks has not heard of the topic yet.
          waitForLeaders: false,
          topics: [{ topic, numPartitions, replicationFactor, configEntries }],
        });
        if (!isNew) return false;
        await pRetry(() => admin.fetchTopicMetadata({ topics: [topic] }), {
          ...NEW_LEADER,
          shouldRetry: ({ error }) =>
            isKafkaError(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE'),
        });
        return true;
      }, topic),
    async deleteTopic(topic) {
      if (!(await topicExists(topic))) return false;
      await attempt(() => admin.deleteTopics({ topics: [topic] }), topic);
      return true;
    },
    async topicOffsets(topic) {
      await requireTopic(topic);
      const ask = () => attempt(() => admin.fetchTopicOffsets(topic), topic);
      const offsets = await pRetry(ask, {
        ...NEW_LEADER,
        shouldRetry: ({ error }) => isKafkaError(error, 'NOT_LEADER_FOR_PARTITION', 'LEADER_NOT_AVAILABLE'),
      });
      return offsets
        .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
        .sort((a, b) => a.partition - b.partition);
    },
    async maxMessageBytes(topic) {
      await requireTopic(topic);
      const name = 'max.message.bytes';
      const { resources } = await attempt(
        () =>
          admin.describeConfigs({
            includeSynonyms: false,
            resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames: [name] }],
          }),
        topic,
      );
      return Number(resources[0]?.configEntries.find((entry) => entry.configName === name)?.configValue);
    },
    close: () => admin.disconnect(),
    [Symbol.asyncDispose]: () => admin.disconnect(),
  };
}
