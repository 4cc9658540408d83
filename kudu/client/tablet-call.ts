import { KuduError } from '../errors.ts';
import type { RequestId } from '../messages/request-header.ts';
import type { ServiceError } from '../messages/service-error.ts';
import { type Address, addressText } from '../rpc/address.ts';
import type { Deadline } from '../rpc/backoff.ts';
import type { Answer } from '../rpc/connection.ts';
import type { Body } from '../rpc/frame.ts';
import type { ConnectionPool } from '../rpc/pool.ts';
import { isLost, tabletServerError } from '../rpc/remedies.ts';
import { readReply } from '../rpc/reply.ts';
import type { TabletLocations } from './locations.ts';
import type { Replica, Tablet } from './tablet.ts';

const SERVICE = 'kudu.tserver.TabletServerService';

export interface TabletRequest<T> {
  method: string;
  body: Body;
  decode(answer: Answer): T;
  features?: readonly number[] | undefined;
  requestId?: RequestId | undefined;
  /** Told when the request was sent and no answer came: nobody knows what became of it. */
  onLost?: (() => void) | undefined;
}

/**
 * Asks one tablet server once.
 * @throws KuduError what the server answers, by the retry table, or what happened to the connection
 */
export async function askTabletServer<T extends { error?: ServiceError }>(
  pool: ConnectionPool,
  address: Address,
  request: TabletRequest<T>,
  timeoutMs: number,
): Promise<T> {
  const { method, body, decode, features, requestId, onLost } = request;
  const connection = await pool.connection(address, timeoutMs);
  const call = {
    service: SERVICE,
    method,
    body,
    timeoutMs,
    ...(features && { features }),
    ...(requestId && { requestId }),
  };
  const answer = await connection.call(call).catch((error: unknown) => {
    if (isLost(error)) onLost?.();
    throw error;
  });
  const response = readReply(connection, method, () => decode(answer));
  if (response.error) throw tabletServerError(response.error, addressText(address));
  return response;
}

/** What a call to a tablet needs of its table. */
export interface TabletOwner {
  locations: TabletLocations;
  /** Gets a new authorization token from the master. */
  renewAuthorization(deadline: Deadline): Promise<void>;
}

export interface LeaderCall<T> {
  owner: TabletOwner;
  tablet: Tablet;
  deadline: Deadline;
  /** How long one attempt may take before another replica is asked. */
  attemptMs: number;
  method: string;
  /** The request of this attempt (from 1): its id says which attempt it is, its body holds the current token. */
  request(attempt: number): Omit<TabletRequest<T>, 'method'>;
}

/**
 * Asks the replica that leads the tablet, whichever that is by then: follows it when leadership or the tablet moves, waits
 * when servers are busy.
 * @throws KuduError TIMEOUT with the last failure as its cause, or what no attempt can mend
 */
export async function callLeader<T extends { error?: ServiceError }>(
  pool: ConnectionPool,
  call: LeaderCall<T>,
): Promise<T> {
  const { tablet, deadline, attemptMs, method, request } = call;
  for (let attempt = 1, last: unknown; ; attempt++) {
    const timeoutMs = deadline.left(method, last, attemptMs);
    const { leader } = tablet;
    try {
      if (!leader)
        throw new KuduError('UNAVAILABLE', `Tablet ${tablet.id} has no replicas.`, { remedy: 'locate' });
      return await askTabletServer(pool, leader.address, { method, ...request(attempt) }, timeoutMs);
    } catch (error) {
      if (!(error instanceof KuduError) || error.remedy === 'none') throw error;
      await deadline.backoff(attempt, method, error);
      await mend(call, leader, error);
      last = error;
    }
  }
}

async function mend<T>(call: LeaderCall<T>, leader: Replica | undefined, error: KuduError): Promise<void> {
  const { owner, tablet, deadline } = call;
  switch (error.remedy) {
    case 'new token':
      return owner.renewAuthorization(deadline);
    case 'other replica':
      if (leader) tablet.demote(leader.server);
      if (tablet.exhausted) await owner.locations.refresh(tablet, deadline);
      return;
    case 'locate':
      if (leader) tablet.demote(leader.server);
      return owner.locations.refresh(tablet, deadline);
    case 'wait':
    case 'none':
  }
}
