import type { Replica, Tablet } from '../client/tablet.ts';
import { KuduError } from '../errors.ts';
import type { Deadline } from '../rpc/backoff.ts';
import type { ScannedTable } from './plan.ts';

/**
 * Which replica a scanner asks. Only the leader has the latest rows for certain; a snapshot is the same everywhere, so any
 * replica that answers will do, the leader first.
 */
export class ReplicaChoice {
  readonly #table: ScannedTable;
  readonly #tablet: Tablet;
  readonly #any: boolean;
  readonly #failed = new Set<string>();

  constructor(table: ScannedTable, tablet: Tablet, any: boolean) {
    this.#table = table;
    this.#tablet = tablet;
    this.#any = any;
  }

  /** @throws KuduError UNAVAILABLE where there is none; the master has to be asked */
  choose(): Replica {
    const { replicas, leader } = this.#tablet;
    const found = this.#any ? replicas.find(({ server }) => !this.#failed.has(server)) : leader;
    if (found) return found;
    throw new KuduError('UNAVAILABLE', `Tablet ${this.#tablet.id} has no replica that can be asked.`, {
      remedy: 'locate',
    });
  }

  /** This replica could not answer; the next choice is another, or one that the master names now. */
  async failed(replica: Replica | undefined, { remedy }: KuduError, deadline: Deadline): Promise<void> {
    if (remedy === 'wait') return;
    if (replica) this.#failed.add(replica.server);
    const exhausted = this.#tablet.replicas.every(({ server }) => this.#failed.has(server));
    if (this.#any && remedy !== 'locate' && !exhausted) return;
    this.#failed.clear();
    await this.#table.locations.refresh(this.#tablet, deadline);
  }
}
