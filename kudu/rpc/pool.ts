import { KuduError } from '../errors.ts';
import { type Address, addressText } from './address.ts';
import { type Answer, type Call, Connection } from './connection.ts';

/** One connection per server, opened when it is needed and opened anew after it broke. */
export class ConnectionPool {
  readonly #user: string;
  readonly #connectMs: number;
  readonly #connections = new Map<string, Promise<Connection>>();
  #closed = false;

  /** @param connectMs how long connecting and negotiating may take */
  constructor(user: string, connectMs: number) {
    this.#user = user;
    this.#connectMs = connectMs;
  }

  /**
   * Calls a server. Connecting counts towards the call's time.
   * @throws KuduError as Connection.open and Connection.call do; CLOSED
   */
  async call(address: Address, call: Call): Promise<Answer> {
    const started = performance.now();
    const connection = await this.#connection(address, call.timeoutMs);
    const timeoutMs = call.timeoutMs - (performance.now() - started);
    return connection.call({ ...call, timeoutMs: Math.max(1, timeoutMs) });
  }

  close(): void {
    this.#closed = true;
    for (const opening of this.#connections.values()) {
      opening.then(
        (connection) => connection.close(),
        () => undefined,
      );
    }
    this.#connections.clear();
  }

  async #connection(address: Address, timeoutMs: number): Promise<Connection> {
    const key = addressText(address);
    for (;;) {
      if (this.#closed) throw new KuduError('CLOSED', 'The client was closed.');
      const opening = this.#connections.get(key) ?? this.#open(key, address, timeoutMs);
      const connection = await opening;
      if (!connection.broken) return connection;
      if (this.#connections.get(key) === opening) this.#connections.delete(key);
    }
  }

  #open(key: string, address: Address, timeoutMs: number): Promise<Connection> {
    const opening = Connection.open(address, this.#user, Math.min(timeoutMs, this.#connectMs));
    this.#connections.set(key, opening);
    opening.then(
      (connection) => {
        if (this.#closed) connection.close();
      },
      () => {
        if (this.#connections.get(key) === opening) this.#connections.delete(key);
      },
    );
    return opening;
  }
}
