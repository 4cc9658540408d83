import type { PoolClient } from 'pg';
import { transaction } from '../../sql/database.ts';
import { keepReplaced } from '../../sql/replaced-rows.ts';
import type { JudgedImages, LiveVerdicts, VerdictCounts } from '../../sql/stored-verdicts.ts';
import { type EncodedVerdict, readVerdictRows } from '../../sql/verdict-rows.ts';
import type { BacklogContext } from './backlog.ts';
import { noteUnclassified } from '../backlog-state.ts';
import { GuardedWrite } from '../write/guarded-write.ts';
import { type JudgedRow, readAgain, readJudged } from './judged-rows.ts';
import {
  forgetPartWrites,
  notePartWrite,
  type PartWrite,
  readPartWrites,
  type SaidOf,
} from './part-writes.ts';
import { leaveOutGone } from '../write/stored-rows.ts';
import { verdictCells } from './verdict-cells.ts';

/** For what is committed beside the part's own transaction: rather than wait for ever, the part is done again. */
const LOCK_TIMEOUT = '10s';

/**
 * Writes the live model's verdicts of a part to its dataset's table.
 *
 *   stripes ─▶ what is there now ─▶ judge again what was changed ─▶ commit what is replaced, and what will be written
 *                                                                     ─▶ write to Kudu ─▶ the part's own commit
 *
 * After a crash before that commit the part is done again, and finds rows that say the same already: predictions that they
 * replaced are kept by then, and what was to be written counts (kudu-store/verdicts/part-writes.ts).
 */
export async function writeLiveVerdicts(
  context: BacklogContext,
  client: PoolClient,
  live: LiveVerdicts,
): Promise<VerdictCounts> {
  const earlier = await readPartWrites(client, live.part);
  const verdicts = new Map(live.judged.rows.flatMap(readVerdictRows).map((row) => [row.id, row]));
  const ids = [...new Set([...verdicts.keys(), ...earlier.flatMap(({ said }) => [...said.keys()])])];
  if (ids.length === 0) return { ...NOTHING, images: live.judged.images };
  const write = await GuardedWrite.begin(context, client, live.dataset, ids);
  try {
    const rows = await readJudged(write.table, ids);
    await leaveOutGone(client, write, live.dataset, rows);
    const counts = await writeGuarded(context, write, live, { verdicts, earlier, rows });
    if (counts.failed > 0) await noteUnclassified(client, live.dataset);
    await forgetPartWrites(client, live.part);
    await write.finish(client);
    return counts;
  } catch (error) {
    await write.rolledBack();
    throw error;
  }
}

const NOTHING: VerdictCounts = {
  images: 0,
  written: 0,
  changed: 0,
  failed: 0,
  superseded: 0,
  overtaken: 0,
};

interface Found {
  verdicts: Map<string, EncodedVerdict>;
  earlier: PartWrite[];
  /** What is there of the images of both. */
  rows: ReadonlyMap<string, JudgedRow>;
}

async function writeGuarded(
  context: BacklogContext,
  write: GuardedWrite,
  live: LiveVerdicts,
  { verdicts, earlier, rows }: Found,
): Promise<VerdictCounts> {
  const counts = { ...NOTHING, images: live.judged.images };
  countEarlier(counts, earlier, rows, verdicts);
  const unchanged = [...verdicts.values()].filter(({ id, revision }) => rows.get(id)?.revision === revision);
  // Somebody changed the others meanwhile. From here on nobody can.
  const others = [...verdicts.values()].filter(({ id, revision }) => rows.get(id)?.revision !== revision);
  const again = await judgeChanged(write, live, rows, others);
  counts.overtaken = others.length - (again?.images ?? 0);
  const anew = again?.rows.flatMap(readVerdictRows) ?? [];
  const all = [...unchanged, ...anew];
  if (all.length === 0) return counts;
  const said = new Map(all.map(({ id, verdict }) => [id, saidOf(verdict, rows.get(id)!)]));
  const replaced = [
    { of: live.judged.replaced, by: unchanged },
    { of: again?.replaced, by: anew },
  ];
  await promise(context, live, replaced, { revision: write.revision, images: counts.images, said });
  const as = { ...live, revision: write.revision, cellBytes: context.cellBytes };
  await write.write(
    all.map(({ id, verdict }) => ['update', verdictCells(id, verdict, as, rows.get(id)!)] as const),
  );
  for (const one of said.values()) count(counts, one);
  return counts;
}

const saidOf = ({ prediction, error }: EncodedVerdict['verdict'], before: JudgedRow): SaidOf => ({
  changed: prediction !== before.prediction,
  failed: error !== null,
  superseded: false,
});

function count(counts: VerdictCounts, { changed, failed, superseded }: SaidOf): void {
  counts.written++;
  counts.changed += Number(changed);
  counts.failed += Number(failed);
  counts.superseded += Number(superseded);
}

/** What earlier attempts at the part have written and nobody has changed since is done. */
function countEarlier(
  counts: VerdictCounts,
  earlier: PartWrite[],
  rows: ReadonlyMap<string, JudgedRow>,
  verdicts: Map<string, EncodedVerdict>,
): void {
  for (const { revision, images, said } of earlier) {
    // Of outdated ones, those that were written are not read again.
    counts.images = Math.max(counts.images, images);
    for (const [id, one] of said) {
      if (rows.get(id)?.revision !== revision) continue;
      // It was not written after all: the revision is that of a label which was written before.
      const more = verdicts.get(id);
      if (more && !(one.failed && more.verdict.error !== null)) continue;
      count(counts, one);
      verdicts.delete(id);
    }
  }
}

/** Those of the changed images that have no class by this promotion: one by it that failed may have been about other bytes. */
async function judgeChanged(
  { table }: GuardedWrite,
  { promotionNo, again, limits }: LiveVerdicts,
  rows: ReadonlyMap<string, JudgedRow>,
  others: EncodedVerdict[],
): Promise<JudgedImages | null> {
  const ids = others.flatMap(({ id }) => {
    const row = rows.get(id);
    return row && (row.promotionNo !== promotionNo || row.prediction === -1) ? [id] : [];
  });
  return ids.length === 0 ? null : await again(readAgain(table, ids, limits));
}

/** Commits what must not be lost once Kudu has the verdicts. Marks what is superseded. */
async function promise(
  { sidePool }: BacklogContext,
  { kept, part }: LiveVerdicts,
  /** By which of the verdicts. */
  replaced: { of: JudgedImages['replaced'] | undefined; by: EncodedVerdict[] }[],
  write: PartWrite,
): Promise<void> {
  await transaction(sidePool, async (client) => {
    await client.query(`set local synchronous_commit = on; set local lock_timeout = '${LOCK_TIMEOUT}'`);
    for (const { of, by } of replaced) {
      const ids = new Set(by.map(({ id }) => id));
      for (const model of kept) {
        const rows = of?.get(model)?.rows ?? [];
        for (const id of await keepReplaced(client, model, rows, ids)) write.said.get(id)!.superseded = true;
      }
    }
    await notePartWrite(client, part, write);
  });
}
