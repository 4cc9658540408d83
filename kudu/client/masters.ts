import { KuduError } from '../errors.ts';
import { decodeConnectToMaster, encodeConnectToMaster, ROLES } from '../messages/connect-to-master.ts';
import type { ServiceError } from '../messages/service-error.ts';
import { type Address, addressText } from '../rpc/address.ts';
import type { Deadline } from '../rpc/backoff.ts';
import type { ConnectionPool } from '../rpc/pool.ts';
import { isLost, masterError } from '../rpc/remedies.ts';
import { readReply } from '../rpc/reply.ts';

const SERVICE = 'kudu.master.MasterService';

export interface MasterCall<T> {
  method: string;
  body: Uint8Array;
  decode(bytes: Uint8Array): T;
  deadline: Deadline;
  features?: readonly number[];
  /**
   * Whether the master may carry it out twice. If not and its answer is lost, the call fails with UNKNOWN_OUTCOME instead
   * of being sent again.
   */
  repeatable: boolean;
}

/** The masters of a cluster: one of them leads and answers, the others say so. */
export class Masters {
  readonly #pool: ConnectionPool;
  readonly #given: readonly Address[];
  readonly #attemptMs: number;
  #leader: Promise<Address> | null = null;

  /** @param attemptMs how long one attempt may take before another master is asked */
  constructor(pool: ConnectionPool, given: readonly Address[], attemptMs: number) {
    this.#pool = pool;
    this.#given = given;
    this.#attemptMs = attemptMs;
  }

  /**
   * Asks the leader, whoever that is by then.
   * @throws KuduError what the master answers, by the retry table; UNKNOWN_OUTCOME; TIMEOUT
   */
  async call<T extends { error?: ServiceError }>(call: MasterCall<T>): Promise<T> {
    const { method, deadline } = call;
    for (let attempt = 1, last: unknown; ; attempt++) {
      try {
        deadline.left(method, last);
        const leader = await this.leader(deadline);
        return await this.#ask(leader, call);
      } catch (error) {
        if (!(error instanceof KuduError)) throw error;
        // Somebody else's time was over, whose search for the leader we shared.
        const shared = error.code === 'TIMEOUT' && deadline.leftMs > 0;
        if (error.remedy === 'none' && !shared) throw error;
        if (error.remedy === 'other replica') this.#leader = null;
        await deadline.backoff(attempt, method, error);
        last = error;
      }
    }
  }

  /**
   * The leader, asked for among all masters if it is not known.
   * @throws KuduError the masters' errors when none of them can be used; TIMEOUT
   */
  leader(deadline: Deadline): Promise<Address> {
    if (this.#leader) return this.#leader;
    const finding = this.#find(deadline);
    this.#leader = finding;
    finding.catch(() => {
      if (this.#leader === finding) this.#leader = null;
    });
    return finding;
  }

  async #ask<T extends { error?: ServiceError }>(leader: Address, call: MasterCall<T>): Promise<T> {
    const { method, body, decode, deadline, features, repeatable } = call;
    const connection = await this.#pool.connection(leader, deadline.left(method));
    const timeoutMs = deadline.left(method, undefined, this.#attemptMs);
    let answer;
    try {
      answer = await connection.call({
        service: SERVICE,
        method,
        body,
        timeoutMs,
        ...(features && { features }),
      });
    } catch (error) {
      if (repeatable || !isLost(error)) throw error;
      throw new KuduError(
        'UNKNOWN_OUTCOME',
        `${method}: the answer was lost, and with it whether it was done (${error.message})`,
        { cause: error, server: error.server },
      );
    }
    const response = readReply(connection, method, () => decode(answer.body));
    if (response.error) throw masterError(response.error, addressText(leader));
    return response;
  }

  async #find(deadline: Deadline): Promise<Address> {
    let known = this.#given;
    for (let attempt = 1; ; attempt++) {
      const { leader, others, errors } = await this.#poll(known, deadline);
      if (leader) return leader;
      // Masters that we were not told of; we go on asking them beside the given ones.
      const news = others.filter((one) => !known.some((other) => addressText(other) === addressText(one)));
      known = [...known, ...news];
      // Where no master can ever be used, waiting does not help.
      const hopeless = errors.length === known.length && errors.every((error) => !error.retryable);
      if (hopeless) throw errors[0]!;
      const list = known.map(addressText).join(', ');
      const why =
        errors.length > 0 ? errors.map(({ message }) => message).join(' ') : 'None of them leads yet.';
      const cause = new KuduError('UNAVAILABLE', `No leading master among ${list}. ${why}`, {
        cause: errors[0],
      });
      if (news.length === 0) await deadline.backoff(attempt + 2, 'Finding the leading master', cause);
    }
  }

  /** Asks all at once; resolves as soon as one says that it leads. */
  async #poll(masters: readonly Address[], deadline: Deadline) {
    const errors: KuduError[] = [];
    const others: Address[] = [];
    const answers = masters.map(async (address) => {
      try {
        const { role, masters: listed } = await this.#askRole(address, deadline);
        others.push(...listed);
        if (role === ROLES.LEADER) return address;
      } catch (error) {
        if (!(error instanceof KuduError)) throw error;
        errors.push(error);
      }
      throw new Error('not the leader');
    });
    const leader = await Promise.any(answers).catch(() => null);
    return { leader, others, errors };
  }

  async #askRole(address: Address, deadline: Deadline) {
    const connection = await this.#pool.connection(address, deadline.left('Finding the leading master'));
    const timeoutMs = deadline.left('Finding the leading master', undefined, this.#attemptMs);
    const method = 'ConnectToMaster';
    const answer = await connection.call({
      service: SERVICE,
      method,
      body: encodeConnectToMaster(),
      timeoutMs,
    });
    const response = readReply(connection, method, () => decodeConnectToMaster(answer.body));
    if (response.error) throw masterError(response.error, addressText(address));
    return response;
  }
}
