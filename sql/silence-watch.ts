import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import pg from 'pg';
import { errorText } from '../errors.ts';

/** How often connections are looked at in the time after which one counts as silent. */
const LOOKS = 3;
/** A server that waits for us may be waiting for what is on its way, over the slowest line that is worth having: 2 Mbit/s. */
const SLOWEST_BYTES_PER_MS = 256;

/** What no other session of any server is. */
interface Session {
  pid: number;
  startedAt: string;
}

const STARTED_AT = 'extract(epoch from backend_start)::text';
const keyOf = ({ pid, startedAt }: Session) => `${pid} ${startedAt}`;

/**
 * Gives up connections on which Postgres has been silent for too long although it owes us an answer, once it is sure that
 * none will come: a new connection gets none either; or the server says on it that it has no such session (it is
 * another one, after a failover), or that the session waits for us as we wait for it (a firewall or proxy passes nothing
 * on). TCP finds out too, after 15 minutes. Whoever waits on such a connection sees it fail like any that is lost. Where the
 * server says that a session works, or waits for a lock, it is left alone, however long that takes.
 *
 * What a session that we gave up holds would be in the way of whoever tries again, until the server notices that we have
 * gone (2 hours): as soon as the server can be reached it is ended.
 */
export class SilenceWatch {
  readonly #settings: pg.ClientConfig;
  readonly #silenceMs: number;
  readonly #lines = new Set<Line>();
  #leftBehind: Session[] = [];
  #timer: NodeJS.Timeout | undefined;
  #asking = false;

  /** @param settings of the connections */
  constructor(settings: pg.ClientConfig, silenceMs: number) {
    this.#settings = settings;
    this.#silenceMs = silenceMs;
  }

  /** From here until it ends, this connection is watched. */
  async add(client: pg.ClientBase): Promise<void> {
    const line = new Line(client);
    this.#lines.add(line);
    client.once('end', () => this.#lines.delete(line));
    // No process is kept for it.
    this.#timer ??= setInterval(() => void this.#look(), this.#silenceMs / LOOKS).unref();
    // Not from the connection's greeting: a connection pooler greets with numbers of its own.
    const { rows } = await client.query<Session>(
      `select pid, ${STARTED_AT} as "startedAt" from pg_stat_activity where pid = pg_backend_pid()`,
    );
    line.session = rows[0] ?? null;
  }

  async #look(): Promise<void> {
    const silent = [...this.#lines].filter((line) => line.silentMs() >= this.#silenceMs);
    if (this.#lines.size + this.#leftBehind.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    if (this.#asking || silent.length + this.#leftBehind.length === 0) return;
    this.#asking = true;
    const server = new pg.Client({
      ...this.#settings,
      connectionTimeoutMillis: this.#silenceMs,
      query_timeout: this.#silenceMs,
    });
    server.on('error', () => undefined);
    try {
      const waiting = await waitingForUs(server, silent);
      // What has arrived meanwhile is read first.
      await nextTurn();
      for (const line of silent) this.#judge(line, waiting);
      if (!(waiting instanceof Error)) await this.#endLeftBehind(server);
    } catch {
      // It answers, if only with an error: asked again at the next look.
    } finally {
      streamOf(server).destroy();
      this.#asking = false;
    }
  }

  #judge(line: Line, waiting: Map<string, boolean> | Error): void {
    const { session } = line;
    const silentMs = line.silentMs();
    if (silentMs < this.#silenceMs) return;
    let why: string;
    if (waiting instanceof Error) {
      why = `nor does it answer a new connection: ${errorText(waiting)}`;
    } else {
      const waitsForUs = session ? waiting.get(keyOf(session)) : undefined;
      if (waitsForUs === false) return;
      if (waitsForUs && silentMs < this.#silenceMs + line.unanswered / SLOWEST_BYTES_PER_MS) return;
      why = waitsForUs ? 'and waits for us in its turn' : 'and does not know this connection any more';
    }
    if (session) this.#leftBehind.push(session);
    line.giveUp(new Error(`Postgres has not answered for ${this.#silenceMs / 1000} s, ${why}`));
  }

  async #endLeftBehind(server: pg.Client): Promise<void> {
    const sessions = this.#leftBehind;
    await server.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where (pid, ${STARTED_AT}) in (select * from unnest($1::int[], $2::text[]))`,
      [sessions.map(({ pid }) => pid), sessions.map(({ startedAt }) => startedAt)],
    );
    this.#leftBehind = [];
  }
}

/**
 * Asks the server which of the sessions it has, and whether they wait for us.
 * @returns an error when nobody answers
 * @throws what the server answers if it is an error
 */
async function waitingForUs(server: pg.Client, lines: Line[]): Promise<Map<string, boolean> | Error> {
  try {
    await server.connect();
    const { rows } = await server.query<Session & { waits: boolean }>(
      `select pid, ${STARTED_AT} as "startedAt", wait_event_type is not distinct from 'Client' as waits
       from pg_stat_activity where pid = any($1)`,
      [lines.flatMap(({ session }) => session?.pid ?? [])],
    );
    return new Map(rows.map((row) => [keyOf(row), row.waits]));
  } catch (error) {
    if (error instanceof pg.DatabaseError) throw error;
    return error as Error;
  }
}

/** pg has it, but not in its types. */
const streamOf = (client: pg.ClientBase): Socket =>
  (client as unknown as { connection: { stream: Socket } }).connection.stream;

/** One connection, and how long an answer has been waited for. */
class Line {
  readonly #stream: Socket;
  /** null: it has not told yet. */
  session: Session | null = null;
  /** Bytes that had been sent when we last heard of the server. */
  #answered: number;
  /** When it was first looked at with something unanswered. */
  #since: number | null = null;

  constructor(client: pg.ClientBase) {
    this.#stream = streamOf(client);
    this.#answered = this.#stream.bytesWritten;
    this.#stream.on('data', () => {
      this.#answered = this.#stream.bytesWritten;
      this.#since = null;
    });
  }

  /** Bytes sent since we last heard of the server: a part of an answer, even, is a word of it. */
  get unanswered(): number {
    return this.#stream.bytesWritten - this.#answered;
  }

  /** For how long, as far as it was looked at. */
  silentMs(): number {
    if (this.unanswered === 0) return 0;
    this.#since ??= performance.now();
    return performance.now() - this.#since;
  }

  giveUp(why: Error): void {
    this.#stream.destroy(why);
  }
}
