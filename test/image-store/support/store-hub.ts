import { afterAll, beforeAll } from '@jest/globals';
import { type Config, loadConfig } from '../../../config.ts';
import { reconcile, type Reconciliation } from '../../../console/reconcile.ts';
import { type IngestContext } from '../../../ingest/engine.ts';
import { openIngest } from '../../../ingest/open-ingest.ts';
import { PartitionIngest } from '../../../ingest/partition.ts';
import { createKuduDataset, dropKuduDataset } from '../../../kudu-store/manage.ts';
import { USUAL_PARTITIONS } from '../../../kudu-store/table-layout.ts';
import { createLogger, type Logger } from '../../../log.ts';
import { createMetrics } from '../../../metrics.ts';
import type { HubPool } from '../../../sql/database.ts';
import { createDataset, dropDataset, type NewDataset } from '../../../sql/datasets.ts';
import { listDeadLetters, type SourceMessage, type StoredDeadLetter } from '../../../sql/dead-letters.ts';
import type { ImageStores, StoreName } from '../../../sql/image-store.ts';
import { acceptNewTopic, haltPartition, listPartitions } from '../../../sql/offsets.ts';
import type { Servers } from '../../../stack/servers.ts';
import type { Manifest } from '../../../classifier/manifest.ts';
import type { ImageColumns } from '../../support/image-rows.ts';
import { CLASSIC_MANIFEST, goLive, TEN } from '../../support/pipeline.ts';
import { freshDatabase, testServers, uniqueName } from '../../support/servers.ts';
import {
  changeImage,
  type ImageRow,
  imagesAt,
  labelByHand,
  putImages,
  removeImage,
  type StoredAt,
} from './stored-images.ts';

/** A message with the place that the test gives it; without one: partition 0, now. */
export interface StoreMessage {
  key: string | null;
  /** null: the image is deleted. */
  value: Buffer | null;
  partition?: number;
  /** Milliseconds since 1970. */
  timestamp?: number;
  /** Header `known-label`. */
  label?: number | string;
  headers?: Record<string, string>;
}

/** A database, and datasets of one store in it, fed by the real pipeline without Kafka. */
export interface StoreHub {
  store: StoreName;
  pool: HubPool;
  url: string;
  /** The masters; null: images are in Postgres. */
  kudu: string[] | null;
  servers: Servers;
  /** For commands in processes of their own. */
  env: NodeJS.ProcessEnv;
  config: Config;
  log: Logger;
  stores: ImageStores;
  context: IngestContext;
  /** A dataset of a test's own with the classes 0 … 9, dropped at its end. */
  dataset(options?: Partial<NewDataset>): Promise<StoreDataset>;
}

/** A dataset whose topic is in the test's hands. */
export interface StoreDataset extends AsyncDisposable {
  name: string;
  at: StoredAt;
  /**
   * Appends messages to the topic, and has them taken as by one ingest process.
   * @param atOnce so many of a partition with one fetch, hence in one transaction at most
   */
  deliver(messages: StoreMessage[], options?: { atOnce?: number }): Promise<void>;
  /** Takes all of the topic again, as if nothing had been read yet: an offset restored from an old backup. */
  replay(options?: { atOnce?: number }): Promise<void>;
  /** The topic is deleted and made anew, and the operator accepts that: a new epoch, from offset 0. */
  remakeTopic(): Promise<void>;
  /** Its images, in one shape for all stores. */
  images(ids?: string[]): Promise<ImageRow[]>;
  image(id: string): Promise<ImageRow | undefined>;
  /** See `putImages`, `changeImage`, `labelByHand`, `removeImage`. */
  put(rows: ImageColumns[]): Promise<void>;
  change(columns: ImageColumns): Promise<void>;
  labelByHand(id: string, label: number | null): Promise<void>;
  removeByHand(id: string): Promise<void>;
  /** Makes a model live as a promotion does, without the checks. @returns its number */
  goLive(onnx: Uint8Array, manifest?: Manifest): Promise<number>;
  deadLetters(): Promise<StoredDeadLetter[]>;
  reconcile(): Promise<Reconciliation>;
  drop(): Promise<void>;
}

/**
 * The hub that all tests of a `describe` share, opened before the first and closed after the last; of use within tests only.
 * @param settings of the pipeline
 */
export function storeHub(store: StoreName, settings: Partial<Config> = {}): StoreHub {
  const hub = {} as StoreHub;
  let close = () => Promise.resolve();
  beforeAll(async () => {
    const opened = await openStoreHub(store, settings);
    Object.assign(hub, opened.hub);
    ({ close } = opened);
  });
  afterAll(() => close());
  return hub;
}

async function openStoreHub(store: StoreName, settings: Partial<Config>) {
  const database = await freshDatabase();
  const { pool, url } = database;
  const kudu = store === 'kudu' ? testServers().kudu : null;
  const config: Config = {
    ...loadConfig({}),
    logLevel: process.env.IMAGEHUB_TEST_LOG === '1' ? 'debug' : 'silent',
    workers: 1,
    ...settings,
  };
  const log = createLogger(config);
  const servers: Servers = { postgres: url, kafka: null, elasticsearch: null, kudu };
  const stop = new AbortController();
  const metrics = createMetrics({ processMetrics: false });
  const context = await openIngest({ config, postgres: url, kudu, log, metrics, signal: stop.signal });
  const hub: StoreHub = {
    store,
    pool,
    url,
    kudu,
    servers,
    env: {
      IMAGEHUB_POSTGRES_URL: url,
      IMAGEHUB_KAFKA_BROKERS: '',
      ...(kudu ? { IMAGEHUB_KUDU_MASTERS: kudu.join(',') } : {}),
    },
    config,
    log,
    stores: context.stores,
    context,
    dataset: (options) => openDataset(hub, options),
  };
  const close = async () => {
    stop.abort();
    await context[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  };
  return { hub, close };
}

async function openDataset(hub: StoreHub, options: Partial<NewDataset> = {}): Promise<StoreDataset> {
  const { pool, kudu, context } = hub;
  // All tests share the names of tables in Kudu.
  const name = options.name ?? uniqueName('digits');
  const dataset = { classes: TEN, ...options, name };
  if (kudu) await createKuduDataset(pool, kudu, dataset, { partitions: USUAL_PARTITIONS, replicas: 1 });
  else await createDataset(pool, dataset);
  const topic = dataset.topic ?? name;
  const at: StoredAt = { pool, dataset: name, kudu };
  const partitions = new Map<number, Partition>();

  return {
    name,
    at,
    async deliver(messages, { atOnce = Infinity } = {}) {
      for (const [number, some] of stretches(messages)) {
        let partition = partitions.get(number);
        if (!partition)
          partitions.set(
            number,
            (partition = new Partition(context, { dataset: name, topic, partition: number })),
          );
        partition.append(some);
        await partition.takeAll(atOnce);
      }
    },
    async replay({ atOnce = Infinity } = {}) {
      await pool.query(
        `update imagehub.consumer_offsets set next_offset = start_offset, last_offset = null, last_key_hash = null,
           last_timestamp = null, seen = 0, inserted = 0, updated = 0, superseded = 0, tombstones = 0 where dataset = $1`,
        [name],
      );
      for (const partition of partitions.values()) {
        partition.restart();
        await partition.takeAll(atOnce);
      }
    },
    async remakeTopic() {
      for (const state of await listPartitions(pool, name)) {
        await haltPartition(pool, state, 'made anew by the test');
        await acceptNewTopic(pool, topic, state.partition, 0);
      }
      partitions.clear();
    },
    images: (ids) => imagesAt(at, ids),
    image: async (id) => (await imagesAt(at, [id]))[0],
    put: (rows) => putImages(at, rows),
    change: (columns) => changeImage(at, columns),
    labelByHand: (id, label) => labelByHand(at, id, label),
    removeByHand: (id) => removeImage(at, id),
    goLive: (onnx, manifest = CLASSIC_MANIFEST) => goLive(pool, name, onnx, manifest),
    deadLetters: () => listDeadLetters(pool, { dataset: name }),
    reconcile: () => reconcile(hub, name),
    drop: () => (kudu ? dropKuduDataset(pool, kudu, name) : dropDataset(pool, name)),
    async [Symbol.asyncDispose]() {
      // In Postgres it goes with the database.
      if (kudu) await dropKuduDataset(pool, kudu, name).catch(() => undefined);
    },
  };
}

/** Neighbours of one partition, in the order in which they were sent. */
function stretches(messages: StoreMessage[]): [partition: number, StoreMessage[]][] {
  const found: [number, StoreMessage[]][] = [];
  for (const message of messages) {
    const { partition = 0 } = message;
    const last = found.at(-1);
    if (last?.[0] === partition) last[1].push(message);
    else found.push([partition, [message]]);
  }
  return found;
}

/** What a broker has of a partition, and who takes it. */
class Partition {
  readonly #context: IngestContext;
  readonly #place: { dataset: string; topic: string; partition: number };
  readonly #messages: SourceMessage[] = [];
  #ingest!: PartitionIngest;
  #next = 0;

  constructor(context: IngestContext, place: { dataset: string; topic: string; partition: number }) {
    this.#context = context;
    this.#place = place;
    this.restart();
  }

  append(messages: StoreMessage[]): void {
    for (const { key, value, timestamp = Date.now(), label, headers = {} } of messages) {
      const all = { ...headers, ...(label === undefined ? {} : { 'known-label': String(label) }) };
      this.#messages.push({
        offset: this.#messages.length,
        timestamp,
        key: key === null ? null : Buffer.from(key),
        value,
        headers: Object.entries(all).map(([name, text]) => [name, Buffer.from(text)]),
      });
    }
  }

  /** As another process, which reads the offset. */
  restart(): void {
    const ends = () => Promise.resolve({ low: 0, high: this.#messages.length });
    this.#ingest = new PartitionIngest(this.#context, this.#place, ends);
    this.#next = 0;
  }

  async takeAll(atOnce: number): Promise<void> {
    const highWatermark = this.#messages.length;
    while (this.#next < highWatermark) {
      const messages = this.#messages.slice(this.#next, this.#next + atOnce);
      const endOffset = this.#next + messages.length;
      const batch = { fetchedOffset: this.#next, endOffset, highWatermark, messages };
      const advice = await this.#ingest.take(batch, () => Promise.resolve());
      if (advice.kind === 'halted') throw new Error(`the partition is stopped: ${advice.reason}`);
      this.#next = advice.offset;
    }
  }
}
