import { KuduError } from '../errors.ts';
import { type Address, addressText } from './address.ts';
import { Connection } from './connection.ts';

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
   * A connection that was sound a moment ago; never close it.
   * @param limitMs how long this caller waits for it, if less than it may take
   * @throws KuduError as `Connection.open` does; CLOSED
   */
  async connection(address: Address, limitMs = Infinity): Promise<Connection> {
    if (limitMs >= this.#connectMs) return this.#sound(address);
    const late = Promise.withResolvers<never>();
    const server = addressText(address);
    const timer = setTimeout(() => {
      const message = `No connection to ${server} within ${Math.round(limitMs)} ms.`;
      late.reject(new KuduError('TIMEOUT', message, { server, remedy: 'other replica' }));
    }, limitMs);
    try {
      return await Promise.race([this.#sound(address), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #sound(address: Address): Promise<Connection> {
    const key = addressText(address);
    for (;;) {
      if (this.#closed) throw new KuduError('CLOSED', 'The client was closed.');
      const opening = this.#connections.get(key) ?? this.#open(key, address);
      const connection = await opening;
      if (!connection.broken) return connection;
      if (this.#connections.get(key) === opening) this.#connections.delete(key);
    }
  }

  /** Closes every connection; what is in flight fails with CLOSED. */
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

  #open(key: string, address: Address): Promise<Connection> {
    const opening = Connection.open(address, this.#user, this.#connectMs);
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
