import type { Servers } from '../../stack/servers.ts';
import { pause } from '../backoff.ts';
import type { IndexState } from '../state.ts';
import type { FollowContext } from './follow.ts';

export interface FollowersOptions extends Omit<FollowContext, 'tables'> {
  servers: Pick<Servers, 'kudu'>;
  /** Those that there are now. */
  datasets(): Pick<IndexState, 'dataset' | 'bornRevision'>[];
  signal: AbortSignal;
}

/** How often it is looked whether datasets came or went. */
const LOOK_EVERY_MS = 500;

/**
 * Follows every dataset in Kudu until the signal aborts: one task for each, none of which waits for another. Kudu's client is
 * loaded, and connected, when there is one.
 */
export async function followKuduDatasets(options: FollowersOptions): Promise<void> {
  const { datasets, signal } = options;
  while (datasets().length === 0) {
    if (signal.aborted) return;
    await pause(LOOK_EVERY_MS, signal);
  }
  const { KuduConnection } = await import('../../kudu-store/connection.ts');
  const { StoreTables } = await import('../../kudu-store/table.ts');
  const { followDataset } = await import('./follow.ts');
  using connection = new KuduConnection(options.servers.kudu);
  const context = { ...options, tables: new StoreTables(connection) };
  const running = new Map<string, { stop: AbortController; done: Promise<void> }>();
  try {
    while (!signal.aborted) {
      // One that was dropped and made again is another.
      const wanted = new Map(
        datasets().map((state) => [`${state.dataset}/${state.bornRevision}`, state.dataset]),
      );
      for (const [key, { stop, done }] of running) {
        if (wanted.has(key)) continue;
        stop.abort();
        await done;
        running.delete(key);
      }
      for (const [key, dataset] of wanted) {
        if (running.has(key)) continue;
        const stop = new AbortController();
        context.tables.forget(dataset);
        const done = followDataset(dataset, context, AbortSignal.any([signal, stop.signal]));
        running.set(key, { stop, done });
      }
      await pause(LOOK_EVERY_MS, signal);
    }
  } finally {
    for (const { stop } of running.values()) stop.abort();
    await Promise.all(running.values().map(({ done }) => done));
  }
}
