import type { Address } from '../rpc/address.ts';
import type { PartitionMessage } from '../messages/partition.ts';
import { ROLES } from '../messages/connect-to-master.ts';
import type { GetTableLocationsResponse, TabletLocationsMessage } from '../messages/get-table-locations.ts';

export interface Replica {
  /** The tablet server's own, permanent name. */
  server: string;
  address: Address;
  leader: boolean;
}

/** A part of a table: the rows whose partition keys are from `keyStart` up to but without `keyEnd`. */
export class Tablet {
  readonly id: string;
  /** One for each hash schema. */
  readonly hashBuckets: readonly number[];
  readonly keyStart: Uint8Array;
  /** Empty: to the end. */
  readonly keyEnd: Uint8Array;
  /** The presumed leader first. */
  #replicas: Replica[];
  /** How many replicas turned out not to lead since the master was asked. */
  #demoted = 0;

  constructor(id: string, partition: PartitionMessage, replicas: readonly Replica[]) {
    this.id = id;
    this.hashBuckets = partition.hashBuckets;
    this.keyStart = partition.keyStart;
    this.keyEnd = partition.keyEnd;
    this.#replicas = leaderFirst(replicas);
  }

  get replicas(): readonly Replica[] {
    return this.#replicas;
  }

  /** Who is believed to lead; undefined when the master knows no replica at all. */
  get leader(): Replica | undefined {
    return this.#replicas[0];
  }

  /** Whether every replica was tried in vain since the master was asked. */
  get exhausted(): boolean {
    return this.#demoted >= this.#replicas.length;
  }

  /** This server does not lead (any more): the next replica is tried. */
  demote(server: string): void {
    const [first, ...rest] = this.#replicas;
    // Another call may have found out before.
    if (first?.server !== server) return;
    this.#replicas = [...rest, first];
    this.#demoted++;
  }

  /** What the master says now. */
  update(replicas: readonly Replica[]): void {
    this.#replicas = leaderFirst(replicas);
    this.#demoted = 0;
  }
}

const leaderFirst = (replicas: readonly Replica[]): Replica[] =>
  [...replicas].sort((a, b) => Number(b.leader) - Number(a.leader));

/** The replicas of one tablet of a master's answer; without those whose server has no address yet. */
export function replicasOf(
  message: TabletLocationsMessage,
  { servers }: GetTableLocationsResponse,
): Replica[] {
  return message.replicas.flatMap(({ server, role }) => {
    const { uuid, addresses } = servers[server]!;
    const address = addresses[0];
    return address ? [{ server: uuid, address, leader: role === ROLES.LEADER }] : [];
  });
}
