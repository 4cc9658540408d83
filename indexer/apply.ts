import type { Pool } from 'pg';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { type BulkOptions, type BulkOutcome, writeBulk } from './bulk.ts';
import type { Operation } from './bulk-request.ts';
import { writeDocument } from './document-json.ts';
import type { Change } from './feed.ts';
import { type FoundRow, readRows } from './scan.ts';
import { recordError, recordRefused } from './state.ts';

/** Where the documents of one dataset go. */
export interface Target {
  /** An alias, or a concrete index. */
  index: string;
  /** Changes up to this revision belong to an earlier dataset of that name. */
  bornRevision: number;
  classes: readonly string[];
}

export interface ApplyContext {
  pool: Pool;
  log: Logger;
  bulk: BulkOptions;
  metrics?: Pick<Metrics, 'indexDocuments'> | undefined;
}

/**
 * Writes changes to the index. `targetOf` null: the change concerns nobody (another dataset, one that was dropped).
 * What Elasticsearch refuses is kept in imagehub.index_dead_documents; nothing is dropped silently.
 * @returns what became of the documents; `homeless` ones are the caller's to deal with.
 */
export async function applyChanges(
  changes: Change[],
  targetOf: (dataset: string) => Target | null,
  context: ApplyContext,
): Promise<BulkOutcome> {
  const targets = new Map<string, Target | null>();
  for (const { dataset } of changes) if (!targets.has(dataset)) targets.set(dataset, targetOf(dataset));
  const wanted = changes.filter(({ dataset, revision }) => {
    const target = targets.get(dataset);
    return target && revision > target.bornRevision;
  });
  const read = await readAgain(wanted, context.pool);
  const operations: Operation[] = [];
  for (const change of wanted) {
    const { dataset, id, revision, row } = change;
    const target = targets.get(dataset)!;
    if (row === null) operations.push({ index: target.index, dataset, id, revision, source: null });
    else if (row.complete) operations.push(putOperation({ dataset, id, revision, row }, target));
    else {
      const found = read.get(change);
      if (found) operations.push(putOperation(found, target));
    }
  }
  return writeOperations(operations, context);
}

export const putOperation = (
  { dataset, id, revision, row }: FoundRow,
  { index, classes }: Target,
): Operation => ({
  index,
  dataset,
  id,
  revision,
  source: (out) => writeDocument(out, row, classes),
});

/** Writes to Elasticsearch, records what it refused, and counts. */
export async function writeOperations(operations: Operation[], context: ApplyContext): Promise<BulkOutcome> {
  const outcome = await writeBulk(operations, context.bulk);
  const { refused } = outcome;
  if (refused.length > 0) {
    await recordRefused(context.pool, refused);
    for (const { operation, error } of refused) {
      const { dataset, id, revision } = operation;
      context.log.error(
        { dataset, id, revision, error },
        'Elasticsearch refused a document; the index lacks it',
      );
    }
    for (const dataset of new Set(refused.map(({ operation }) => operation.dataset))) {
      const last = refused.findLast(({ operation }) => operation.dataset === dataset)!;
      await recordError(context.pool, dataset, `${last.operation.id}: ${last.error}`);
    }
  }
  count(outcome, context);
  return outcome;
}

function count({ indexed, deleted, superseded, refused }: BulkOutcome, { metrics }: ApplyContext): void {
  if (!metrics) return;
  const all = {
    indexed,
    deleted,
    superseded,
    failed: refused.map(({ operation }) => operation),
  };
  for (const [outcome, operations] of Object.entries(all)) {
    for (const [dataset, { length }] of Map.groupBy(operations, (operation) => operation.dataset)) {
      metrics.indexDocuments.inc({ dataset, outcome }, length);
    }
  }
}

/**
 * The rows of the changes for which the feed left out a large value that the update did not touch (exif, most likely),
 * read again. One may be newer than its change by then, which is as good: its revision comes with it, and the change
 * that made it follows. A row that is gone is left out: its deletion follows.
 */
async function readAgain(changes: Change[], pool: Pool): Promise<Map<Change, FoundRow>> {
  const rows = new Map<Change, FoundRow>();
  const incomplete = changes.filter(({ row }) => row !== null && !row.complete);
  for (const [dataset, lacking] of Map.groupBy(incomplete, (change) => change.dataset)) {
    const ids = lacking.map(({ id }) => id);
    const found = await readRows(pool, 'where dataset = $1 and id = any ($2)', [dataset, ids]);
    const byId = new Map(found.map((row) => [row.id, row]));
    for (const change of lacking) {
      const row = byId.get(change.id);
      if (row) rows.set(change, row);
    }
  }
  return rows;
}
