import { readFile } from 'node:fs/promises';
import { InvalidArgumentError, Option } from 'commander';
import { errorText, HubError } from '../errors.ts';
import { openKafkaAdmin, type TopicOffsets } from '../ingest/kafka.ts';
import { USUAL_PARTITIONS } from '../kudu-store/table-layout.ts';
import {
  createDataset,
  type Dataset,
  dropDataset,
  getDataset,
  listDatasets,
  setFeaturesBackbone,
  type Oversized,
  setOversized,
  setStripLocation,
} from '../sql/datasets.ts';
import { transaction } from '../sql/database.ts';
import { countDeadLetters, readDatasetCounts, type DatasetCounts } from '../sql/dataset-counts.ts';
import { STORE_SUPPORT, type StoreName } from '../sql/image-store.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { datasetTable, type ShownDataset, showText, UNCOUNTED } from './dataset-text.ts';
import { type Hub, openHub } from './hub.ts';
import { type LabelRuleOption, parseLabelRule } from './label-rule.ts';
import { note, report } from './output.ts';

interface CreateOptions {
  classes: string;
  labelFrom: LabelRuleOption;
  topic?: string;
  partitions?: number;
  pgmMaxSide?: number;
  background?: number;
  columns: Dataset['columns'];
  store: StoreName;
  kuduPartitions: number;
  kuduReplicas?: number;
  features?: string;
  stripLocation?: boolean;
  oversized?: Oversized;
  json?: boolean;
}

interface DropOptions {
  keepTopic?: boolean;
  keepTable?: boolean;
  yes?: boolean;
  json?: boolean;
}

interface SetOptions {
  features?: string;
  stripLocation?: 'on' | 'off';
  oversized?: Oversized;
  json?: boolean;
}

const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(`A whole number from ${min} to ${max} is wanted.`);
    }
    return value;
  };

/** Kafka's limit for topic names, and its characters (org.apache.kafka.common.internals.Topic). */
const topicName = (text: string): string => {
  if (!/^[a-zA-Z0-9._-]{1,249}$/.test(text) || text === '.' || text === '..') {
    throw new InvalidArgumentError('Topics take letters, digits, “.”, “_” and “-”, at most 249 of them.');
  }
  return text;
};

/** What `dataset set --features` takes instead of a backbone’s name. */
const NO_BACKBONE = 'none';

const JSON_OPTION = ['--json', 'one JSON document on standard output'] as const;

const oversizedOption = (what: string) =>
  new Option(
    '--oversized <fate>',
    `${what}: dead-letter (unless said otherwise), or reduce: the largest rendition that fits is stored`,
  ).choices(['dead-letter', 'reduce']);

export const datasetCommand: RegisterCommand = (program) => {
  const command = program.command('dataset').description('make, list, show and drop datasets');

  command
    .command('create <name>')
    .description('make a dataset: its classes, its partition of the image table, its topic')
    .requiredOption(
      '--classes <list>',
      'class names in index order: 0..9, or ant,bee,cat, or @FILE with one a line',
    )
    .option(
      '--label-from <rule>',
      'where labels come from: none | first-character (of the file name) | parent-folder | regex:PATTERN (its first group, on the id)',
      parseLabelRule,
      parseLabelRule('none'),
    )
    .option(
      '--topic <name>',
      'Kafka topic (default: the dataset’s name); one that exists already is used as it is',
      topicName,
    )
    .option('--partitions <n>', 'of a new topic (default: IMAGEHUB_TOPIC_PARTITIONS)', wholeNumber(1, 10_000))
    .option('--pgm-max-side <pixels>', 'longest side of the greyscale rendition', wholeNumber(8, 4096))
    .option(
      '--background <grey>',
      'grey value that transparent images are laid on, 0 to 255',
      wholeNumber(0, 255),
    )
    .addOption(
      new Option(
        '--columns <kept>',
        'all, or classic: image, PGM, prediction and label alone, no scores, hashes and pixel statistics',
      )
        .choices(['all', 'classic'])
        .default('all'),
    )
    .addOption(
      new Option(
        '--store <store>',
        'where its images are: in Postgres, or as a table in Kudu (docs/kudu-store.md)',
      )
        .choices(['postgres', 'kudu'])
        .default('postgres'),
    )
    .option(
      '--kudu-partitions <n>',
      'hash partitions of its table in Kudu: as many tablets can be written and scanned at once',
      wholeNumber(1, 1000),
      USUAL_PARTITIONS,
    )
    .option(
      '--kudu-replicas <n>',
      'tablet servers that have each of them, an odd number (default: the cluster’s)',
      wholeNumber(1, 7),
    )
    .option('--features <backbone>', 'whose features images get as they are ingested')
    .option('--strip-location', 'store images without the place where they were taken: GPS of EXIF and XMP')
    .addOption(oversizedOption('what becomes of images that are larger than Kudu takes'))
    .option(...JSON_OPTION)
    .action(async (name: string, options: CreateOptions) => {
      await using hub = await openHub(commandContext());
      report(options, await create(hub, name, options), ({ dataset, topic }) => {
        const what = `Dataset ${dataset.name} with ${dataset.classes.length} classes`;
        return `${what}, ${TOPIC_STATES[topic.state](topic.name)}.`;
      });
    });

  command
    .command('list')
    .description('all datasets')
    .option(...JSON_OPTION)
    .action(async (options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      const datasets = await listDatasets(hub.pool);
      const listed = datasets.map(async (dataset) => ({
        ...dataset,
        ...(await countsIfThere(hub, dataset)),
      }));
      report(options, await Promise.all(listed), datasetTable);
    });

  command
    .command('show <name>')
    .description('one dataset: classes, topic, live model, rows')
    .option(...JSON_OPTION)
    .action(async (name: string, options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(options, await show(hub, name), showText);
    });

  command
    .command('set <name>')
    .description('change what becomes of new images')
    .option(
      '--features <backbone>',
      'whose features they get as they are ingested, or none (imagehub features computes those of stored images)',
    )
    .addOption(
      new Option(
        '--strip-location <on|off>',
        'store them without the place where they were taken (stored images stay as they are)',
      ).choices(['on', 'off']),
    )
    .addOption(oversizedOption('what becomes of those that are larger than Kudu takes'))
    .option(...JSON_OPTION)
    .action(async (name: string, options: SetOptions) => {
      await using hub = await openHub(commandContext());
      const { features, stripLocation, oversized } = options;
      if (features === undefined && stripLocation === undefined && oversized === undefined) {
        throw new HubError('USAGE', 'Nothing is to be changed.', { hint: 'For example: --features lite0' });
      }
      // All of it or nothing.
      await transaction(hub.pool, async (db) => {
        if (features !== undefined)
          await setFeaturesBackbone(db, name, features === NO_BACKBONE ? null : features);
        if (stripLocation !== undefined) await setStripLocation(db, name, stripLocation === 'on');
        if (oversized !== undefined) await setOversized(db, name, oversized);
      });
      report(options, await show(hub, name), showText);
    });

  command
    .command('make-topic <name>')
    .description(
      'make the topic of a dataset that has none yet (created without Kafka, or the topic was deleted)',
    )
    .option('--partitions <n>', 'of the topic (default: IMAGEHUB_TOPIC_PARTITIONS)', wholeNumber(1, 10_000))
    .option(...JSON_OPTION)
    .action(async (name: string, options: { partitions?: number; json?: boolean }) => {
      await using hub = await openHub(commandContext());
      const { topic } = await getDataset(hub.pool, name);
      if (hub.servers.kafka === null) throw noKafka();
      const state = await makeTopic(hub, topic, options.partitions);
      report(options, { name: topic, state }, () => `Dataset ${name}, ${TOPIC_STATES[state](topic)}.`);
    });

  command
    .command('drop <name>')
    .description('drop a dataset with its images, labels, models and dead letters, and its topic')
    .option('--keep-topic', 'leave the topic and its messages')
    .option('--keep-table', 'leave its table in Kudu, which need not answer then')
    .option('--yes', 'do not ask')
    .option(...JSON_OPTION)
    .action(async (name: string, options: DropOptions) => {
      await using hub = await openHub(commandContext());
      const dataset = await getDataset(hub.pool, name);
      const { topic } = dataset;
      const { rows } = options.keepTable
        ? { rows: null }
        : await readDatasetCounts(hub.pool, hub.stores, dataset);
      const images = rows === null ? '' : ` with ${rows} images`;
      const withTopic = options.keepTopic ? '' : ` and topic ${topic}`;
      await confirm(`Drop dataset ${name}${images}${withTopic}?`, options);
      await drop(hub, dataset, options);
      const topicDeleted = !options.keepTopic && (await deleteTopic(hub, topic));
      report(
        options,
        { dropped: name, images: rows, topic, topicDeleted },
        () => `Dropped dataset ${name}${images}${topicDeleted ? ` and topic ${topic}` : ''}.`,
      );
    });
};

type TopicState = 'created' | 'existed' | 'no-kafka';

const TOPIC_STATES: Record<TopicState, (topic: string) => string> = {
  created: (topic) => `topic ${topic} made`,
  existed: (topic) => `topic ${topic} was there already and is used as it is`,
  'no-kafka': () => 'no topic: there is no Kafka, imagehub send feeds the pipeline directly',
};

const noKafka = () =>
  new HubError('NO_SERVER', 'There is no Kafka.', {
    hint: 'imagehub up starts one where Java and Maven are there; IMAGEHUB_KAFKA_BROKERS names another.',
  });

async function create(hub: Hub, name: string, options: CreateOptions) {
  const { classes: list, labelFrom: rule, topic = name, pgmMaxSide, background, columns } = options;
  const {
    features: featuresBackbone = null,
    stripLocation = false,
    oversized = 'dead-letter',
    store,
  } = options;
  const classes = await parseClasses(list);
  // Kafka is asked first whether it answers: a dataset without its topic would be half made.
  if (hub.servers.kafka !== null)
    await (await openKafkaAdmin(hub.config, hub.servers.kafka, hub.log)).close();
  const dataset = {
    name,
    classes,
    topic,
    ...rule,
    ...(pgmMaxSide === undefined ? {} : { pgmMaxSide }),
    ...(background === undefined ? {} : { background }),
    columns,
    featuresBackbone,
    stripLocation,
    oversized,
  };
  if (store === 'kudu') {
    const layout = { partitions: options.kuduPartitions, replicas: options.kuduReplicas };
    await (await inKudu()).createKuduDataset(hub.pool, hub.servers.kudu, dataset, layout);
  } else await createDataset(hub.pool, dataset);
  let state: TopicState = 'no-kafka';
  if (hub.servers.kafka !== null) {
    try {
      state = await makeTopic(hub, topic, options.partitions);
    } catch (error) {
      await drop(hub, { name, store });
      throw error;
    }
  }
  return { dataset: await getDataset(hub.pool, name), topic: { name: topic, state } };
}

/** Loaded only for datasets there: it takes a quarter of a second. */
const inKudu = () => import('../kudu-store/manage.ts');

async function drop(
  { pool, servers }: Hub,
  { name, store }: Pick<Dataset, 'name' | 'store'>,
  { keepTable = false }: DropOptions = {},
): Promise<void> {
  if (store === 'kudu') await (await inKudu()).dropKuduDataset(pool, servers.kudu, name, { keepTable });
  else await dropDataset(pool, name);
}

/** One whose store is away is listed all the same. */
async function countsIfThere(
  { pool, stores }: Hub,
  dataset: Dataset,
): Promise<DatasetCounts | (typeof UNCOUNTED & Pick<DatasetCounts, 'deadLetters'>)> {
  try {
    return await readDatasetCounts(pool, stores, dataset);
  } catch (error) {
    if (!(error instanceof HubError) || dataset.store === 'postgres') throw error;
    note(`The images of ${dataset.name} are not counted: ${error.message}`);
    return { ...UNCOUNTED, deadLetters: await countDeadLetters(pool, dataset.name) };
  }
}

async function makeTopic(
  { config, servers, log }: Hub,
  topic: string,
  partitions?: number,
): Promise<TopicState> {
  await using admin = await openKafkaAdmin(config, servers.kafka!, log);
  return (await admin.createTopic(topic, partitions ?? config.topicPartitions)) ? 'created' : 'existed';
}

/** After the rows are gone a topic that cannot be deleted is worth a line, not a failure. */
async function deleteTopic({ config, servers, log }: Hub, topic: string): Promise<boolean> {
  if (servers.kafka === null) return false;
  try {
    await using admin = await openKafkaAdmin(config, servers.kafka, log);
    return await admin.deleteTopic(topic);
  } catch (error) {
    note(`The dataset is dropped, but its topic ${topic} is not: ${errorText(error)}`);
    return false;
  }
}

/** More classes than this are a mistyped range. */
const MOST_CLASSES = 100_000;

/** `0..9` → 0, 1, … 9; `ant,bee`; `@FILE` with one name a line. Spaces around names do not count. */
export async function parseClasses(text: string): Promise<string[]> {
  const range = /^\s*(\d+)\.\.(\d+)\s*$/.exec(text);
  if (range) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    if (to < from || to - from >= MOST_CLASSES) {
      throw new HubError('USAGE', `${text} is no range of classes.`, { hint: 'For example: --classes 0..9' });
    }
    return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
  }
  if (!text.startsWith('@')) return text.split(',').map((name) => name.trim());
  const path = text.slice(1);
  try {
    const names = (await readFile(path, 'utf8')).replace(/^\uFEFF/, '').split(/\r?\n/);
    return names.map((name) => name.trim()).filter((name) => name !== '');
  } catch (error) {
    throw new HubError('BAD_FILE', `Cannot read the classes in ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

async function show(hub: Hub, name: string): Promise<ShownDataset> {
  const { pool, stores, servers, config, log } = hub;
  const dataset = await getDataset(pool, name);
  const counts = await readDatasetCounts(pool, stores, dataset);
  const reduced = STORE_SUPPORT[dataset.store].anySize
    ? {}
    : { reduced: await stores[dataset.store].images.reduced(pool, name) };
  return { ...dataset, ...counts, ...reduced, partitions: await offsets(dataset.topic) };

  async function offsets(topic: string): Promise<TopicOffsets[] | null> {
    if (servers.kafka === null) return null;
    try {
      await using admin = await openKafkaAdmin(config, servers.kafka, log);
      return await admin.topicOffsets(topic);
    } catch (error) {
      note(`${errorText(error)}${error instanceof HubError && error.hint ? ` ${error.hint}` : ''}`);
      return null;
    }
  }
}
