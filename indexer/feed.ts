import type { Client } from 'pg';
import { LogicalReplicationService, type Pgoutput, PgoutputPlugin } from 'pg-logical-replication';
import type { Logger } from '../log.ts';
import { AT, type Column, COLUMNS, PRINTED_AS } from './documents.ts';
import { formatLsn, type Lsn, parseLsn } from './lsn.ts';
import { newTuple, type Tuple, TupleStore } from './tuple.ts';

export const PUBLICATION = 'imagehub_changes';

/** A committed change of one image. */
export interface Change {
  dataset: string;
  id: string;
  revision: number;
  /**
   * The row; null: deleted. It is not complete when a column is stored out of line and this update did not touch it: the
   * log does not hold it then.
   */
  row: Tuple | null;
  /** Size in the feed, in bytes. */
  bytes: number;
}

/** Who takes the changes. A returned promise holds the feed back until it is settled. */
export interface FeedSink {
  change(change: Change): Promise<void> | void;
  classesChanged(): void;
  /** Rows were removed behind the feed's back. */
  truncated(): Promise<void> | void;
  /** All changes before `position` have been handed over; `committedAt`: of the last one, null when nothing was in it. */
  reached(position: Lsn, committedAt: Date | null): void;
  /** Up to here nothing has to be sent again. */
  durable(): Lsn;
}

export interface FollowOptions {
  /** Connection string. */
  url: string;
  slot: string;
  /** What Postgres shows of this connection (pg_stat_activity); default: imagehub index. */
  application?: string;
  /** Make the slot for this connection; the server drops it when the connection ends, however that happens. */
  temporary: boolean;
  sink: FeedSink;
  log: Logger;
  signal: AbortSignal;
  /** Called when changes begin to flow, with the position they start from. */
  onStart(from: Lsn): void;
}

/** How often the durable position is told and the server asked how far it is. */
const STATUS_INTERVAL_MS = 500;
/** Nothing heard from the server for so long, although asked: the connection is dead. */
const SILENCE_LIMIT_MS = 30_000;

/**
 * Hands committed changes to the sink until the signal aborts; any failure is thrown. At least once: after a
 * failure the changes since the last position acknowledged come again.
 *
 * The server is asked for its position all the time: while nothing concerns us, the slot still moves with the log
 * of other tables and databases, so an idle feed holds back no WAL, and nothing has to be written to make it move.
 */
export async function followFeed(options: FollowOptions): Promise<void> {
  const { url, slot, application = 'imagehub index', temporary, sink, signal, onStart } = options;
  const plugin = new FeedPlugin(temporary);
  const service = new LogicalReplicationService(
    {
      connectionString: url,
      application_name: application,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
    },
    // The library would acknowledge what was received; we acknowledge what is indexed. Its flow control makes promises
    // for every message, and pauses for every one; `InOrder` does neither while the sink has room.
    { acknowledge: { auto: false, timeoutSeconds: 0 }, flowControl: { enabled: false } },
  );
  const failure = Promise.withResolvers<never>();
  let failed = false;
  const fail = (error: unknown) => {
    failed = true;
    failure.reject(error);
  };
  service.on('error', fail);
  failure.promise.catch(() => undefined);

  let inTransaction = false;
  let heardAt = Date.now();
  let acknowledged: Lsn = 0n;

  service.on('start', () => {
    acknowledged = plugin.from;
    heardAt = Date.now();
    onStart(plugin.from);
  });
  const handle = (event: FeedEvent): Promise<void> | void => {
    if (event.kind === 'change') return sink.change(event.change);
    if (event.kind === 'begin') inTransaction = true;
    else if (event.kind === 'commit') {
      inTransaction = false;
      sink.reached(event.end, event.committedAt);
    } else if (event.kind === 'classes') sink.classesChanged();
    else if (event.kind === 'truncate') return sink.truncated();
    else if (event.kind === 'unreadable') throw event.error;
  };
  const events = new InOrder(handle, plugin, fail);
  service.on('data', (_lsn: string, event: FeedEvent) => {
    heardAt = Date.now();
    events.push(event);
  });
  // A keep-alive overtakes events that are kept: it counts only when there are none.
  service.on('heartbeat', (lsn) => {
    heardAt = Date.now();
    if (!failed && !inTransaction && !events.waiting) sink.reached(parseLsn(lsn), null);
  });

  const acknowledge = async () => {
    const durable = sink.durable();
    if (durable > acknowledged) acknowledged = durable;
    // The library adds 1 to what it is given; a position one too high would skip a transaction whose commit
    // record lies exactly there.
    if (acknowledged > 0n) await service.acknowledge(formatLsn(acknowledged - 1n), true);
  };
  const timer = setInterval(() => {
    if (service.isStop()) return;
    acknowledge().catch(fail);
    if (events.waiting) heardAt = Date.now();
    if (Date.now() - heardAt > SILENCE_LIMIT_MS) {
      fail(new Error(`nothing heard from Postgres for ${SILENCE_LIMIT_MS / 1000} s`));
    }
  }, STATUS_INTERVAL_MS);
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    if (signal.aborted) return;
    const streaming = service.subscribe(plugin, slot).then(() => {
      throw new Error('Postgres ended the change feed');
    });
    streaming.catch(() => undefined);
    await Promise.race([streaming, failure.promise, aborted]);
  } finally {
    clearInterval(timer);
    if (!failed) await acknowledge().catch(() => undefined);
    await service.destroy();
  }
}

/** What comes through a socket can be held back. */
interface Source {
  pause(): void;
  resume(): void;
}

/**
 * Handles events one after the other. When one has to be waited for, the source is paused, and what comes all the same (it
 * was read from the socket already) is kept until then. After a failure nothing more is handled.
 */
class InOrder<T> {
  readonly #handle: (event: T) => Promise<void> | void;
  readonly #source: Source;
  readonly #fail: (error: unknown) => void;
  #kept: T[] = [];
  #waiting = false;

  constructor(handle: (event: T) => Promise<void> | void, source: Source, fail: (error: unknown) => void) {
    this.#handle = handle;
    this.#source = source;
    this.#fail = fail;
  }

  /** Whether an event is waited for; others may be kept behind it. */
  get waiting(): boolean {
    return this.#waiting;
  }

  push(event: T): void {
    if (this.#waiting) this.#kept.push(event);
    else this.#take(event);
  }

  #take(event: T): void {
    try {
      const wait = this.#handle(event);
      if (!wait) return;
      this.#waiting = true;
      this.#source.pause();
      wait.then(() => this.#goOn(), this.#fail);
    } catch (error) {
      this.#waiting = true;
      this.#fail(error);
    }
  }

  #goOn(): void {
    this.#waiting = false;
    const kept = this.#kept;
    this.#kept = [];
    for (const event of kept) this.push(event);
    if (!this.#waiting) this.#source.resume();
  }
}

type FeedEvent =
  | { kind: 'begin' }
  | { kind: 'commit'; end: Lsn; committedAt: Date }
  | { kind: 'change'; change: Change }
  | { kind: 'classes' }
  | { kind: 'truncate' }
  | { kind: 'other' }
  | { kind: 'unreadable'; error: unknown };

/** pgoutput's messages as our events; makes the temporary slot on its own connection. */
class FeedPlugin extends PgoutputPlugin implements Source {
  readonly temporary: boolean;
  #socket: Source | null = null;
  /** The images as the feed has described them last. */
  #images: Relation | null = null;
  readonly #tuples = new TupleStore();
  from: Lsn = 0n;

  constructor(temporary: boolean) {
    super({ protoVersion: 1, publicationNames: [PUBLICATION] });
    this.temporary = temporary;
  }

  override async start(client: Client, slot: string, lsn: string): Promise<unknown> {
    // pg has it, but not in its types.
    this.#socket = (client as unknown as { connection: { stream: Source } }).connection.stream;
    // The rows are printed by this session's settings. (As options of the connection they would give way to those of the URL.)
    for (const [name, value] of PRINTED_AS) await client.query(`set ${name} = '${value}'`);
    if (this.temporary) {
      // The replication protocol's own commands must be in capitals.
      await client.query(`CREATE_REPLICATION_SLOT "${slot}" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')`);
    }
    const { rows } = await client.query<{ at: string | null }>(
      `select confirmed_flush_lsn as at from pg_replication_slots where slot_name = '${slot}'`,
    );
    this.from = parseLsn(rows[0]?.at ?? '0/0');
    return super.start(client, slot, lsn);
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  // Called for every message as it arrives. An exception here would end the process: it becomes an event.
  override parse(buffer: Buffer): never {
    let event: FeedEvent;
    try {
      event = this.#imageChange(buffer) ?? this.#other(super.parse(buffer), buffer.length);
    } catch (error) {
      event = { kind: 'unreadable', error };
    }
    return event as never;
  }

  /** Nearly every message: a row that came or changed. null: some other message, which the library reads. */
  #imageChange(message: Buffer): FeedEvent | null {
    const tag = message[0];
    if ((tag !== INSERT && tag !== UPDATE) || message.readInt32BE(1) !== this.#images?.oid) return null;
    const { tuple, columns } = newTuple(message, this.#images.places, KEY_AND_REVISION);
    const change: Change = {
      dataset: columns[0]!,
      id: columns[1]!,
      revision: Number(columns[2]),
      row: this.#tuples.keep(tuple),
      bytes: message.length,
    };
    return { kind: 'change', change };
  }

  #other(message: Pgoutput.Message, bytes: number): FeedEvent {
    if (message.tag === 'relation' && `${message.schema}.${message.name}` === 'public.images') {
      const places = message.columns.map(({ name }) => COLUMNS.indexOf(name as Column));
      this.#images = { oid: message.relationOid, places };
    }
    return eventOf(message, bytes);
  }
}

const INSERT = 0x49; // I
const UPDATE = 0x55; // U

const KEY_AND_REVISION = [AT.dataset, AT.id, AT.revision];

interface Relation {
  oid: number;
  /** For each of its columns the place in COLUMNS, or −1. */
  places: number[];
}

interface DeletedImage {
  dataset: string;
  id: string;
  revision: string;
  restored_at: Date | null;
}

function eventOf(message: Pgoutput.Message, bytes: number): FeedEvent {
  switch (message.tag) {
    case 'begin':
      return { kind: 'begin' };
    case 'commit':
      return {
        kind: 'commit',
        end: parseLsn(message.commitEndLsn ?? '0/0'),
        committedAt: new Date(Number(message.commitTime) / 1000),
      };
    case 'insert':
    case 'update':
      return rowEvent(`${message.relation.schema}.${message.relation.name}`, message.new, bytes);
    case 'truncate':
      return { kind: 'truncate' };
    case 'delete':
    case 'message':
    case 'origin':
    case 'relation':
    case 'type':
      return { kind: 'other' };
  }
}

function rowEvent(table: string, tuple: Record<string, unknown>, bytes: number): FeedEvent {
  if (table === 'imagehub.deleted_images') {
    const { dataset, id, revision, restored_at } = tuple as unknown as DeletedImage;
    // A row that came back speaks for itself, with a higher revision.
    if (restored_at) return { kind: 'other' };
    return { kind: 'change', change: { dataset, id, revision: Number(revision), row: null, bytes } };
  }
  return table === 'imagehub.classes' ? { kind: 'classes' } : { kind: 'other' };
}
