import type { ConnectionPool } from '../rpc/pool.ts';
import type { WriteMemory } from '../encoding/write-memory.ts';
import type { RequestTracker } from '../write/request-tracker.ts';
import type { LatestTimestamp } from './latest-timestamp.ts';
import type { Masters } from './masters.ts';

/** What the parts of one client share. */
export interface ClientContext {
  pool: ConnectionPool;
  masters: Masters;
  tracker: RequestTracker;
  /** For rows on their way. */
  memory: WriteMemory;
  timestamp: LatestTimestamp;
  /** How long an operation with all its attempts may take. */
  operationMs: number;
  /** How long one attempt may take before another server is asked. */
  attemptMs: number;
}
