import { randomUUID } from 'node:crypto';
import type { RequestId } from '../messages/request-header.ts';

/**
 * Numbers the writes of one client, so that servers carry each out once however often it is sent (KUDU's
 * design-docs/rpc-retry-and-failover.md; RequestTracker.java). A number is never used again for other rows.
 */
export class RequestTracker {
  /** Servers remember answers per client; a UUID of this process, without hyphens as Kudu's clients send it. */
  readonly clientId = randomUUID().replaceAll('-', '');
  #next = 1n;
  /** Numbers of requests without an answer yet. They are taken in rising order, and a Set keeps it. */
  readonly #incomplete = new Set<bigint>();

  /** Starts one logical request. */
  begin(): TrackedRequest {
    const seqNo = this.#next++;
    this.#incomplete.add(seqNo);
    return {
      id: (attempt) => ({
        clientId: this.clientId,
        seqNo,
        firstIncompleteSeqNo: this.#incomplete.values().next().value ?? seqNo,
        attemptNo: BigInt(attempt),
      }),
      done: () => void this.#incomplete.delete(seqNo),
    };
  }
}

export interface TrackedRequest {
  /** @param attempt from 1 */
  id(attempt: number): RequestId;
  /** Its answer is there, or nobody wants it any more: servers may forget it. */
  done(): void;
}
