import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Servers } from '../stack/servers.ts';
import type { Troubles } from '../troubles.ts';
import type { ApplyContext, Target } from './apply.ts';
import type { VersionType } from './bulk-request.ts';
import type { Client } from './elasticsearch.ts';

export interface RebuildOptions {
  config: Pick<Config, 'indexPrefix'>;
  pool: Pool;
  servers: Pick<Servers, 'kudu'>;
  postgresUrl: string;
  client: Client;
  elasticsearchUrl: string;
  log: Logger;
  troubles: Troubles;
  signal: AbortSignal;
  metrics?: Pick<Metrics, 'indexDocuments'> | undefined;
  /** Rows put so far, of about `total` (undefined where a condition chooses them). */
  onProgress?(rows: number, total: number | undefined): void;
}

/** What a source has to do to fill a new index. */
export interface FillJob {
  dataset: string;
  /** The new index. */
  target: Target;
  options: RebuildOptions;
  /** Aborts when the lock is lost, too. */
  signal: AbortSignal;
  /** Points the alias to the new index; from then on there is no way back. */
  swap(): Promise<void>;
}

/** What a source has to do to put the documents of some rows again, in place. */
export interface PutJob {
  dataset: string;
  /** The alias. */
  target: Target;
  /** A user's condition in SQL on the columns of images. */
  where: string;
  options: RebuildOptions;
  /** Aborts when the lock is lost, too. */
  signal: AbortSignal;
}

/** How often a new index is compared with the table, while somebody writes, before it counts as wrong. */
export const COMPARISONS = 5;

/**
 * Well below gc_deletes: a row that was read so long ago and is written only now could otherwise bring back a
 * document that was deleted meanwhile.
 */
const GIVE_UP_MS = 10 * 60_000;

/** How documents are written by a rebuild. @param alias the index is named by its alias */
export const rebuildContext = (
  options: RebuildOptions,
  signal: AbortSignal,
  versionType: VersionType,
  alias = false,
): ApplyContext => ({
  pool: options.pool,
  log: options.log,
  metrics: options.metrics,
  bulk: {
    client: options.client,
    url: options.elasticsearchUrl,
    troubles: options.troubles,
    signal,
    requireAlias: alias,
    versionType,
    giveUpAfterMs: GIVE_UP_MS,
  },
});

export const interrupted = (cause?: unknown) =>
  new HubError(
    'INTERRUPTED',
    cause instanceof Error && cause.name !== 'AbortError'
      ? `The rebuild stopped: ${errorText(cause)}`
      : 'The rebuild was interrupted; the old index goes on serving.',
    { cause },
  );

export const indexVanished = (index: string) =>
  new HubError('NOT_CONSISTENT', `Index ${index} was deleted while it was being written.`, {
    hint: 'Run the command again.',
  });

/** The new index differs from the table. */
export const notEqual = (dataset: string, rows: number, documents: number) =>
  new HubError(
    'NOT_CONSISTENT',
    `The new index of ${dataset} holds ${documents} documents for ${rows} rows; the old one goes on serving.`,
    { hint: 'Run imagehub index rebuild again; if it stays so, the log says which documents were refused.' },
  );
