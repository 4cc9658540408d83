import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { pause } from '../indexer/backoff.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { openPool, type Pool } from '../sql/database.ts';
import type { Servers } from '../stack/servers.ts';
import { Troubles } from '../troubles.ts';
import { cannotFollow, keepCopy } from './keep-copy.ts';
import { dropCopySlot } from './slot.ts';
import { type KuduCopy, readCopies } from './state.ts';
import { copyLags } from './status.ts';

export interface RunCopiesOptions {
  config: Pick<Config, 'kuduMaxCellBytes'>;
  servers: Pick<Servers, 'postgres' | 'kudu'>;
  pool: Pool;
  log: Logger;
  metrics?: Pick<Metrics, 'copyRows' | 'copyLagBytes' | 'copyLagSeconds'> | undefined;
  troubles?: Troubles;
  signal: AbortSignal;
  /** See KeepOptions. */
  writeMs?: number;
}

/** How often copies that came or went, or whose process ended, are looked for. */
const LOOK_MS = 1000;
const STARTING = 'looking for copies to keep in step';
const CANNOT_LOOK = 'cannot look after the copies in Kudu';
/** Each copy that is kept holds a connection for its lock. */
const MOST_COPIES = 1000;

export const noKudu = () =>
  new HubError('NO_SERVER', 'There is no Kudu to copy into.', {
    hint: 'Set IMAGEHUB_KUDU_MASTERS, or start a local one: imagehub up --kudu',
  });

/**
 * Keeps the copies of all datasets in step until the signal aborts. Any number of processes may do so: they share the
 * copies, and one takes over what another leaves.
 * @throws HubError NO_SERVER
 */
export async function runCopies(options: RunCopiesOptions): Promise<void> {
  const { pool, servers, log, metrics, signal, troubles = new Troubles(log) } = options;
  if (servers.kudu === null) throw noKudu();
  const { kudu: masters, postgres: postgresUrl } = servers;
  await using locks = openPool(postgresUrl, { max: MOST_COPIES, application_name: 'imagehub copy' });
  const keeping = new Map<number, Promise<void>>();
  const keep = async (copy: KuduCopy) => {
    const { kuduMaxCellBytes: cellBytes } = options.config;
    try {
      await keepCopy(copy, { ...options, locks, postgresUrl, masters, cellBytes, troubles });
    } catch (error) {
      if (!signal.aborted) troubles.notice(cannotFollow(copy.dataset), error, { dataset: copy.dataset });
      await pause(LOOK_MS, signal);
    } finally {
      keeping.delete(copy.copyNo);
    }
  };
  troubles.starting(STARTING);
  try {
    while (!signal.aborted) {
      try {
        const copies = await readCopies(pool);
        for (const copy of copies) {
          if (copy.state === 'stopped') await dropCopySlot(pool, copy);
          else if (!keeping.has(copy.copyNo)) keeping.set(copy.copyNo, keep(copy));
        }
        if (metrics) await showLags(pool, metrics);
        troubles.started(STARTING);
        troubles.over(CANNOT_LOOK);
      } catch (error) {
        if (!signal.aborted) troubles.notice(CANNOT_LOOK, errorText(error));
      }
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    await Promise.all(keeping.values());
  }
}

/** Whoever keeps them, and also while nobody does or Kudu is away: then the lag grows. */
async function showLags(
  pool: Pool,
  { copyLagBytes, copyLagSeconds }: Pick<Metrics, 'copyLagBytes' | 'copyLagSeconds'>,
): Promise<void> {
  const lags = await copyLags(pool);
  copyLagBytes.reset();
  copyLagSeconds.reset();
  for (const { dataset, lagBytes, lagSeconds } of lags) {
    if (lagBytes !== null) copyLagBytes.set({ dataset }, lagBytes);
    if (lagSeconds !== null) copyLagSeconds.set({ dataset }, lagSeconds);
  }
}
