import { errors } from '@elastic/elasticsearch';
import { HubError } from '../errors.ts';
import type { Troubles } from '../troubles.ts';
import { backoffMs, pause } from './backoff.ts';
import {
  type BulkRequest,
  bulkRequests,
  type Operation,
  requestOf,
  type VersionType,
} from './bulk-request.ts';
import { type Client, elasticsearchError, isUnavailable, shortText } from './elasticsearch.ts';

export interface RefusedDocument {
  operation: Operation;
  error: string;
}

export interface BulkOutcome {
  indexed: Operation[];
  deleted: Operation[];
  /** The index holds this version or a newer one already. */
  superseded: Operation[];
  /** Refused for what is in the document: trying again cannot help. */
  refused: RefusedDocument[];
  /** Their index or alias is not there. */
  homeless: Operation[];
}

export interface BulkOptions {
  client: Client;
  url: string;
  troubles: Troubles;
  signal: AbortSignal;
  /** true: the operations name aliases; an index of that name is never made by writing to it. */
  requireAlias: boolean;
  /**
   * external: writes only what is newer than the document there. external_gte: the same version again, too, which
   * replaces a document by another one made from the same row.
   */
  versionType: VersionType;
  /** Stop trying after this long; absent: never. */
  giveUpAfterMs?: number;
}

/**
 * Writes all operations, each key at most once in `operations`. Resolves when every one has its outcome; waits and
 * retries while Elasticsearch is away, overloaded, read-only or refuses our password.
 * @throws HubError SERVER_UNREACHABLE or ACCESS_DENIED after `giveUpAfterMs`, INTERRUPTED when the signal aborts.
 */
export async function writeBulk(operations: Operation[], options: BulkOptions): Promise<BulkOutcome> {
  const outcome: BulkOutcome = { indexed: [], deleted: [], superseded: [], refused: [], homeless: [] };
  const refuse = (operation: Operation, error: string) => outcome.refused.push({ operation, error });
  for (const request of bulkRequests(operations, options.versionType, refuse)) {
    await writeRequest(request, options, outcome);
  }
  return outcome;
}

async function writeRequest(first: BulkRequest, options: BulkOptions, outcome: BulkOutcome): Promise<void> {
  const { troubles, signal, giveUpAfterMs = Infinity } = options;
  const indexes = [...new Set(first.operations.map(({ index }) => index))];
  const activity = `Elasticsearch does not take documents of ${indexes.join(', ')}`;
  const deadline = Date.now() + giveUpAfterMs;
  let request = first;
  for (let attempt = 1; ; attempt++) {
    const { again, failure } = await writeOnce(request, options, outcome);
    if (again.length === 0) return troubles.over(activity);
    const cause = elasticsearchError(failure, options.url);
    if (signal.aborted || Date.now() > deadline) {
      troubles.forget(activity);
      if (!signal.aborted) throw cause;
      throw new HubError('INTERRUPTED', 'Interrupted while documents were being written.');
    }
    troubles.notice(activity, shortText(cause), { documents: again.length });
    request = requestOf(again, options.versionType);
    await pause(backoffMs(attempt), signal);
  }
}

/** One request. `again`: what has no outcome yet and is to be tried again, because of `failure`. */
async function writeOnce(
  { operations, body, release }: BulkRequest,
  options: BulkOptions,
  outcome: BulkOutcome,
): Promise<{ again: Operation[]; failure?: unknown }> {
  const { client, requireAlias } = options;
  let answer;
  try {
    answer = await client.bulk({
      require_alias: requireAlias,
      // The client sends a buffer as it is; that it may be one is not in the types.
      operations: body as never,
      filter_path: ['items.*.status', 'items.*.error'],
    });
  } catch (error) {
    return requestFailed(error, operations, options, outcome);
  }
  // Only now: what has failed may not be sent to its end.
  release();
  const again: Operation[] = [];
  let failure: unknown;
  operations.forEach((operation, i) => {
    const item = Object.values(answer.items[i] ?? {})[0];
    const status = item?.status ?? 500;
    const type = item?.error?.type ?? '';
    const error = item?.error ? describe(item.error) : `status ${status}`;
    if (status < 300) (operation.source === null ? outcome.deleted : outcome.indexed).push(operation);
    else if (status === 409) outcome.superseded.push(operation);
    // Deleting what is not there leaves its version behind all the same, which is all we want.
    else if (status === 404 && !item?.error) outcome.deleted.push(operation);
    else if (status === 404 || type === 'index_not_found_exception' || type === 'index_closed_exception') {
      outcome.homeless.push(operation);
    } else if (isTransient(status, type)) {
      again.push(operation);
      failure ??= new Error(error);
    } else outcome.refused.push({ operation, error });
  });
  return { again, failure };
}

/** Overload, failing shards, blocks (disk full, read-only) and lost rights pass or can be repaired; bad content not. */
const isTransient = (status: number, type: string) =>
  status === 429 || status >= 500 || status === 401 || status === 403 || type === 'cluster_block_exception';

async function requestFailed(
  error: unknown,
  operations: Operation[],
  options: BulkOptions,
  outcome: BulkOutcome,
): Promise<{ again: Operation[]; failure?: unknown }> {
  const status = error instanceof errors.ResponseError ? error.statusCode : undefined;
  if (isUnavailable(error) || status === 401 || status === 403) return { again: operations, failure: error };
  if (status === 404) {
    outcome.homeless.push(...operations);
    return { again: [] };
  }
  if (status !== 400 && status !== 413) throw error;
  // Something in it is refused as a whole (too large, not readable): halve until it is alone.
  if (operations.length === 1) {
    outcome.refused.push({ operation: operations[0]!, error: shortText(error) });
    return { again: [] };
  }
  const middle = operations.length >> 1;
  const half = (part: Operation[]) => writeOnce(requestOf(part, options.versionType), options, outcome);
  const first = await half(operations.slice(0, middle));
  const second = await half(operations.slice(middle));
  return { again: [...first.again, ...second.again], failure: first.failure ?? second.failure };
}

function describe(error: {
  type?: string;
  reason?: string | null;
  caused_by?: { reason?: string | null };
}): string {
  const text = `${error.type}: ${error.reason}`;
  return error.caused_by?.reason ? `${text} (${error.caused_by.reason})` : text;
}
