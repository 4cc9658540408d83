import { HubError } from '../errors.ts';
import { type Client, connect } from '../kudu/index.ts';

/** For one operation with all its attempts: then the batch is tried again, with the locks let go meanwhile. */
const OPERATION_MS = 10_000;
const ATTEMPT_MS = 5_000;

/** A client that is connected when it is first needed, and again after that failed. */
export class KuduConnection implements Disposable {
  readonly #masters: string[] | null;
  #client: Promise<Client> | null = null;

  /** @param masters null: no Kudu is known here */
  constructor(masters: string[] | null) {
    this.#masters = masters;
  }

  /** @throws HubError NO_SERVER; KuduError UNREACHABLE … */
  client(): Promise<Client> {
    if (this.#masters === null) {
      const hint = 'imagehub up --kudu starts one; IMAGEHUB_KUDU_MASTERS names another.';
      return Promise.reject(new HubError('NO_SERVER', 'There is no Kudu.', { hint }));
    }
    const options = { masters: this.#masters, operationMs: OPERATION_MS, attemptMs: ATTEMPT_MS };
    this.#client ??= connect(options).catch((error: unknown) => {
      this.#client = null;
      throw error;
    });
    return this.#client;
  }

  [Symbol.dispose](): void {
    void this.#client?.then(
      (client) => client.close(),
      () => undefined,
    );
    this.#client = null;
  }
}
