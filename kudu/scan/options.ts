import type { Where } from '../encoding/predicates.ts';
import { KuduError } from '../errors.ts';
import type { ReadMode } from '../messages/scan.ts';

export interface ScanOptions {
  /** Default: all. None at all (`[]`): batches that have a number of rows and nothing else, for counting. */
  columns?: readonly string[];
  /** Conditions by column; all have to hold. They are the server's work, and tablets that cannot match are not asked. */
  where?: Where;
  /** The most rows. */
  limit?: number;
  /**
   * `latest` (default): what the servers have when they are asked. `snapshot`: all rows as they were at one moment.
   * `yourWrites`: no older than what this client wrote or read before.
   */
  read?: ReadMode;
  /**
   * The moment of a snapshot, a hybrid time (`hybridTime`, `Client.latestTimestamp`, `Scan.snapshot`). Default: the first
   * server's now.
   */
  snapshot?: bigint;
  /**
   * Only rows that changed from this hybrid time on and before `snapshot` (default: the first server's now; `Scan.snapshot`
   * then tells where the next scan of changes begins), each once, with a column `is_deleted` (renamed if the table has
   * one). Of deleted rows only the key columns mean anything. A start older than the table's history
   * (`history_max_age_sec`, a week by default) is refused.
   */
  changedSince?: bigint;
  /**
   * Goes on at another replica where a server was lost, nothing lost or doubled. Rows of a tablet come in the order of
   * their primary keys then, and from a snapshot; the servers have more work with that.
   */
  faultTolerant?: boolean;
  /** Bytes that a server puts into one batch, roughly. Default 1 MiB; servers allow at most 8 MiB. */
  batchBytes?: number;
  /**
   * A batch is used up when the next one is asked for, or the loop is left: its memory then takes other batches, and whatever
   * was kept of it but copies changes (default false). Scans of everything take half the processor time with that.
   */
  reuseMemory?: boolean;
  /** Tablets scanned at the same time (default 1, one after the other); their batches come as they arrive. */
  parallel?: number;
  /** Whether servers keep what they read in their caches (default true); for scans of everything, rather not. */
  cacheBlocks?: boolean;
  /** A scanner that the consumer leaves waiting is kept alive this often. Default 20 s; servers end them after 60 s. */
  keepAliveMs?: number;
}

/** What goes into every tablet's request. */
export type ScanSettings = Required<Omit<ScanOptions, 'columns' | 'where' | 'snapshot' | 'changedSince'>> &
  Pick<ScanOptions, 'snapshot' | 'changedSince'>;

const BATCH_BYTES = 1024 * 1024;
const KEEP_ALIVE_MS = 20_000;

/** @throws KuduError INVALID_ARGUMENT for what contradicts itself */
export function scanSettings(options: ScanOptions): ScanSettings {
  const { snapshot, changedSince, limit = Infinity, faultTolerant = false, parallel = 1 } = options;
  const ofSnapshot = snapshot !== undefined || changedSince !== undefined || faultTolerant;
  const read = options.read ?? (ofSnapshot ? 'snapshot' : 'latest');
  const batchBytes = options.batchBytes ?? BATCH_BYTES;
  const refuse = (message: string) => {
    throw new KuduError('INVALID_ARGUMENT', message);
  };
  if (ofSnapshot && read !== 'snapshot')
    refuse(`A scan with a snapshot, changes, or fault tolerance reads a snapshot, not "${read}".`);
  if (changedSince !== undefined && snapshot !== undefined && changedSince > snapshot)
    refuse('A scan of changes begins (changedSince) before it ends (snapshot).');
  if (!(limit >= 0) || (limit !== Infinity && !Number.isSafeInteger(limit)))
    refuse(`The limit is a number of rows, not ${limit}.`);
  if (!Number.isSafeInteger(parallel) || parallel < 1) refuse(`parallel is 1 or more, not ${parallel}.`);
  if (!Number.isSafeInteger(batchBytes) || batchBytes < 1)
    refuse(`batchBytes is 1 or more, not ${batchBytes}.`);
  return {
    limit,
    read,
    snapshot,
    changedSince,
    faultTolerant,
    batchBytes,
    parallel,
    reuseMemory: options.reuseMemory ?? false,
    cacheBlocks: options.cacheBlocks ?? true,
    keepAliveMs: options.keepAliveMs ?? KEEP_ALIVE_MS,
  };
}
