import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { HubError } from './errors.ts';

interface Setting<T extends z.ZodType> {
  env: string;
  schema: T;
  doc: string;
  secret?: boolean;
}

/** Declares one setting; `secret` ones are printed as `***`, URLs without their password. */
function setting<T extends z.ZodType>(env: string, schema: T, doc: string, secret = false): Setting<T> {
  return { env, schema, doc, secret };
}

const text = z.string().min(1);
const integer = (min: number, max = Number.MAX_SAFE_INTEGER) => z.coerce.number().int().min(min).max(max);
const flag = z.stringbool();
const MIB = 1024 * 1024;
const list = text.transform((items) => items.split(',').map((item) => item.trim()));

/** `host`, `host:port`, `[::1]:port` or `*.example.com`. */
const HOST = /^(\*\.)?([\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?$/i;
const isHost = (item: string) => HOST.test(item) && URL.canParse(`http://${item.replace(/^\*\./, '')}`);

/** Every setting of imagehub, once: environment variable, type, default, meaning. */
export const SETTINGS = {
  home: setting(
    'IMAGEHUB_HOME',
    text.default('.imagehub'),
    'Folder for the local servers’ data, logs, state and caches.',
  ),

  cache: setting(
    'IMAGEHUB_CACHE',
    text.optional(),
    'Folder for downloaded servers, shared by all hubs; without it ~/.cache/imagehub (or $XDG_CACHE_HOME/imagehub).',
  ),

  postgresUrl: setting(
    'IMAGEHUB_POSTGRES_URL',
    text.optional(),
    'Postgres to use instead of a local one, e.g. postgresql://user:password@host:5432/imagehub.',
  ),
  kafkaBrokers: setting(
    'IMAGEHUB_KAFKA_BROKERS',
    text.optional(),
    'Kafka brokers to use instead of a local one: host:port, comma-separated.',
  ),
  kafkaSsl: setting('IMAGEHUB_KAFKA_SSL', flag.default(false), 'Connect to Kafka over TLS.'),
  kafkaSaslMechanism: setting(
    'IMAGEHUB_KAFKA_SASL_MECHANISM',
    z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).default('plain'),
    'SASL mechanism, used when a user name is set.',
  ),
  kafkaUsername: setting('IMAGEHUB_KAFKA_USERNAME', text.optional(), 'Kafka user name (SASL).'),
  kafkaSessionMs: setting(
    'IMAGEHUB_KAFKA_SESSION_MS',
    integer(6000, 300_000).default(10_000),
    'Milliseconds without a heartbeat after which Kafka gives a dead ingest process’s partitions to others.',
  ),
  kafkaPassword: setting('IMAGEHUB_KAFKA_PASSWORD', text.optional(), 'Kafka password (SASL).', true),
  elasticsearchUrl: setting(
    'IMAGEHUB_ELASTICSEARCH_URL',
    text.optional(),
    'Elasticsearch to use instead of a local one, e.g. http://user:password@host:9200.',
  ),
  elasticsearchApiKey: setting(
    'IMAGEHUB_ELASTICSEARCH_API_KEY',
    text.optional(),
    'Elasticsearch API key.',
    true,
  ),
  kuduMasters: setting('IMAGEHUB_KUDU_MASTERS', text.optional(), 'Kudu masters: host:port, comma-separated.'),
  kuduMaxCellBytes: setting(
    'IMAGEHUB_KUDU_MAX_CELL_BYTES',
    // A row's largest cells, image and PGM, have to fit into one request of 50 MiB.
    integer(1024, 16 * MIB).default(64 * 1024),
    'Largest cell that Kudu’s tablet servers take, their --max_cell_size_bytes: larger values are left out of copies, and in datasets in Kudu their images become dead letters.',
  ),

  postgresPort: setting(
    'IMAGEHUB_POSTGRES_PORT',
    integer(0, 65535).default(5432),
    'Port the local Postgres takes if it is free, else any free one (0: always any).',
  ),
  kafkaPort: setting(
    'IMAGEHUB_KAFKA_PORT',
    integer(0, 65535).default(9092),
    'Port the local Kafka takes if it is free, else any free one (0: always any).',
  ),
  elasticsearchPort: setting(
    'IMAGEHUB_ELASTICSEARCH_PORT',
    integer(0, 65535).default(9200),
    'Port the local Elasticsearch takes if it is free, else any free one (0: always any).',
  ),

  kuduPort: setting(
    'IMAGEHUB_KUDU_PORT',
    integer(0, 65535).default(7051),
    'Port the local Kudu master takes if it is free, else any free one (0: always any).',
  ),

  group: setting('IMAGEHUB_GROUP', text.default('imagehub'), 'Kafka consumer group of the ingest processes.'),
  topicPartitions: setting(
    'IMAGEHUB_TOPIC_PARTITIONS',
    integer(1, 10_000).default(4),
    'Partitions of a dataset’s topic when imagehub creates it; they bound how many ingest processes can share the work.',
  ),
  topicMessageBytes: setting(
    'IMAGEHUB_TOPIC_MESSAGE_BYTES',
    integer(1024).default(32 * MIB),
    'Largest message that a topic takes when imagehub creates it (its max.message.bytes); Kafka’s own default of 1 MiB is too small for photos.',
  ),
  workers: setting(
    'IMAGEHUB_WORKERS',
    integer(1, 1024).default(availableParallelism()),
    'Worker threads that decode and classify, per process.',
  ),
  jobParts: setting(
    'IMAGEHUB_JOB_PARTS',
    integer(1, 1024).default(2),
    'Parts of jobs that a process works on at the same time: while one waits for the database, another computes.',
  ),
  devices: setting(
    'IMAGEHUB_DEVICES',
    z
      .string()
      .transform((list) => list.split(',').map((device) => device.trim()))
      .pipe(z.array(z.enum(['cpu', 'cuda'])).min(1))
      .default(['cpu']),
    'What this process has for jobs, comma-separated: cpu, cuda. Work for a GPU waits for a process that has one.',
  ),
  practiceMs: setting(
    'IMAGEHUB_PRACTICE_MS',
    integer(0, 60_000).default(1000),
    'Milliseconds that worker threads practise before the first images, so that these are as fast as later ones.',
  ),
  batchImages: setting(
    'IMAGEHUB_BATCH_IMAGES',
    integer(1, 100_000).default(2000),
    'Most images in one transaction.',
  ),
  batchBytes: setting(
    'IMAGEHUB_BATCH_BYTES',
    integer(1024).default(16 * MIB),
    'Most message bytes in one transaction (one larger message still goes through).',
  ),
  maxPixels: setting(
    'IMAGEHUB_MAX_PIXELS',
    integer(1).default(100_000_000),
    'Images with more pixels than this are refused before they are decoded.',
  ),
  imageUrlFolders: setting(
    'IMAGEHUB_IMAGE_URL_FOLDERS',
    list
      .pipe(z.array(z.string().refine(isAbsolute, 'absolute paths are wanted, separated by commas')))
      .default([]),
    'Folders, comma-separated, below which messages may name images by file: URLs; without it none may.',
  ),
  imageUrlHosts: setting(
    'IMAGEHUB_IMAGE_URL_HOSTS',
    list
      .pipe(
        z.array(
          z.string().refine(isHost, 'host, host:port or *.example.com are wanted, separated by commas'),
        ),
      )
      .default([]),
    'Hosts, comma-separated, from which messages may name images by http: and https: URLs: host (on the usual ports), host:port, *.example.com; without it none may.',
  ),
  imageUrlBytes: setting(
    'IMAGEHUB_IMAGE_URL_BYTES',
    // A database’s text value ends at 1 GiB, and base64 makes 4 bytes of 3.
    integer(1024, 256 * MIB).default(64 * MIB),
    'Largest image that is fetched for a message that names it.',
  ),
  imageUrlTimeoutMs: setting(
    'IMAGEHUB_IMAGE_URL_TIMEOUT_MS',
    integer(10, 300_000).default(10_000),
    'Longest time for fetching one image, from connecting to its last byte.',
  ),
  imageUrlRedirects: setting(
    'IMAGEHUB_IMAGE_URL_REDIRECTS',
    integer(0, 20).default(3),
    'Most redirects that are followed for an image, each only to where messages may name images.',
  ),
  imageUrlFetches: setting(
    'IMAGEHUB_IMAGE_URL_FETCHES',
    integer(1, 1000).default(8),
    'Images fetched at the same time, per process.',
  ),
  imageUrlPatienceMs: setting(
    'IMAGEHUB_IMAGE_URL_PATIENCE_MS',
    integer(1, 7 * 86_400_000).default(30_000),
    'How long an image is tried again whose host or disk fails, while its partition waits; then it becomes a dead letter.',
  ),
  decodeTimeoutMs: setting(
    'IMAGEHUB_DECODE_TIMEOUT_MS',
    integer(100).default(30_000),
    'Longest time for one image where images are done one by one in a process of their own, after a crash or a hang; a batch in a worker thread has four times that.',
  ),
  classifyAttempts: setting(
    'IMAGEHUB_CLASSIFY_ATTEMPTS',
    integer(1, 1000).default(3),
    'How often an image that the model fails on is tried before only its error is kept.',
  ),
  checkpointSeconds: setting(
    'IMAGEHUB_CHECKPOINT_SECONDS',
    z.coerce.number().min(0).max(86_400).default(30),
    'How often an unfinished training is saved: so much of it a killed process loses.',
  ),
  deletedRetentionDays: setting(
    'IMAGEHUB_DELETED_RETENTION_DAYS',
    integer(1).default(30),
    'How long a deleted image is remembered; longer than the topic’s retention, or a replay could bring it back.',
  ),

  indexPrefix: setting(
    'IMAGEHUB_INDEX_PREFIX',
    z
      .string()
      .regex(/^[a-z0-9][a-z0-9_-]*$/)
      .default('imagehub'),
    'Elasticsearch aliases are <prefix>-<dataset>.',
  ),
  kuduIndexMs: setting(
    'IMAGEHUB_KUDU_INDEX_MS',
    integer(50, 3_600_000).default(1000),
    'Milliseconds between two looks of the indexer at what changed in a dataset in Kudu.',
  ),
  feedLimitBytes: setting(
    'IMAGEHUB_FEED_LIMIT_BYTES',
    integer(MIB).default(4096 * MIB),
    'Most WAL an abandoned change feed may hold back on the database’s disk; beyond it the feed is given up and rebuilt.',
  ),

  sqlBytes: setting(
    'IMAGEHUB_SQL_BYTES',
    integer(1024).default(1024 * MIB),
    'Most bytes that imagehub sql reads from Kudu for one query; they are held in memory.',
  ),
  shutdownTimeoutMs: setting(
    'IMAGEHUB_SHUTDOWN_TIMEOUT_MS',
    // Shorter than the 30 s that Kubernetes gives before it kills.
    integer(0, 3_600_000).default(25_000),
    'How long imagehub run may take, once interrupted, to finish what is in flight; then it stops without (nothing is lost) and ends with status 1.',
  ),
  operationsHost: setting(
    'IMAGEHUB_OPERATIONS_HOST',
    text.default('127.0.0.1'),
    'Address that /metrics, /healthz and /readyz listen on.',
  ),
  operationsPort: setting(
    'IMAGEHUB_OPERATIONS_PORT',
    integer(0, 65535).default(9464),
    'Port of /metrics, /healthz and /readyz; the next free one is taken when it is in use.',
  ),
  logLevel: setting(
    'IMAGEHUB_LOG_LEVEL',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    'Least severe level that is logged (to standard error).',
  ),
  logFormat: setting(
    'IMAGEHUB_LOG_FORMAT',
    z.enum(['auto', 'pretty', 'json']).default('auto'),
    'auto: pretty on a terminal, JSON lines otherwise.',
  ),
} as const;

type Settings = typeof SETTINGS;
export type Config = { readonly [K in keyof Settings]: z.output<Settings[K]['schema']> };

/**
 * Reads all settings from the environment and reports every bad one at once.
 * An empty variable counts as unset, as in docker-compose's `VAR=`.
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, { env: variable, schema }] of Object.entries(SETTINGS)) {
    const parsed = schema.safeParse(env[variable] || undefined);
    if (parsed.success) values[name] = parsed.data;
    else problems.push(`${variable}: ${parsed.error.issues.map((issue) => issue.message).join(', ')}`);
  }
  if (problems.length > 0) {
    throw new HubError('CONFIG_INVALID', `Bad settings:\n  ${problems.join('\n  ')}`, {
      hint: 'imagehub config --help lists every setting with its type and default.',
    });
  }
  return values as Config;
}

export interface SettingDescription {
  name: string;
  env: string;
  doc: string;
  default: unknown;
  value: unknown;
  set: boolean;
}

/** Every setting with its current value, secrets and passwords inside URLs hidden. */
export function describeConfig(config: Config, env: NodeJS.ProcessEnv = process.env): SettingDescription[] {
  return Object.entries(SETTINGS).map(([name, { env: variable, schema, doc, secret }]) => {
    const value = config[name as keyof Config];
    return {
      name,
      env: variable,
      doc,
      default: schema.safeParse(undefined).data ?? null,
      value: value === undefined ? null : secret ? '***' : hidePassword(value),
      set: Boolean(env[variable]),
    };
  });
}

/**
 * `postgresql://user:secret@host` → `postgresql://user:***@host`, `?password=secret` likewise; anything that is no such
 * URL stays. A password may hold an unescaped `@`: all up to the last one goes.
 */
export function hidePassword<T>(value: T): T | string {
  if (typeof value !== 'string') return value;
  return value.replace(/^(\w+:\/\/[^:/@]*):.*@/, '$1:***@').replace(/([?&]password=)[^&]*/i, '$1***');
}
