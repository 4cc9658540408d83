import type { Queryable } from '../../sql/database.ts';

/** Up to where a dataset's index has the changes of its table in Kudu (imagehub.kudu_index_feeds). */
export interface IndexPosition {
  /** A hybrid time of Kudu's; null: not known any more, the index is to be built anew. */
  position: bigint | null;
  /** Moments after it as of which there may be documents already, in order: the next scan ends at the first of them. */
  ends: bigint[];
  /** Rises when the position is set by somebody else than the one who follows. */
  generation: number;
  /** What the database's clock says, as text. */
  now: string;
}

/** @returns null: the index was never built */
export async function readPosition(db: Queryable, dataset: string): Promise<IndexPosition | null> {
  const { rows } = await db.query<{
    position: string | null;
    ends: string[];
    generation: number;
    now: string;
  }>(
    `select position::text, ends::text[], generation, clock_timestamp()::text as now
       from imagehub.kudu_index_feeds where dataset = $1`,
    [dataset],
  );
  const found = rows[0];
  if (!found) return null;
  const { position, ends } = found;
  return { ...found, position: position === null ? null : BigInt(position), ends: ends.map(BigInt) };
}

/**
 * Whoever follows goes back to a position, if it is earlier than its own; there are documents as of both, and of what was just being
 * written. For an update of imagehub.kudu_index_feeds f. @param position @param asOf in SQL
 */
const goBack = (position: string, asOf: string): string => `
  position = least(f.position, ${position}),
  ends = array(select distinct e from unnest(f.ends || f.position || ${position}) e
                where e > least(f.position, ${position}) order by e),
  as_of = least(f.as_of, ${asOf}), caught_up = false, generation = f.generation + 1`;

/**
 * The index was built anew and has everything before `position`. Whoever follows goes back to it; or to where it was itself, if
 * that is earlier: what it was just writing may have been made with other class names, so it has to be written again. Documents
 * are there as of both, and of what it was just writing.
 * @param asOf by the database's clock
 */
export async function resetPosition(
  db: Queryable,
  dataset: string,
  position: bigint,
  asOf: string,
): Promise<void> {
  await db.query(
    `insert into imagehub.kudu_index_feeds as f (dataset, position, as_of)
     select dataset, $2, $3 from imagehub.kudu_stores where dataset = $1
     on conflict (dataset) do update set ${goBack('excluded.position', 'excluded.as_of')}`,
    [dataset, String(position), asOf],
  );
}

/**
 * Documents were put as of `position`, and may have replaced such as are of later moments: whoever follows goes back to it. An index that is
 * to be built anew is left alone.
 * @param asOf by the database's clock
 */
export async function sendBack(
  db: Queryable,
  dataset: string,
  position: bigint,
  asOf: string,
): Promise<void> {
  await db.query(
    `update imagehub.kudu_index_feeds f set ${goBack('$2::numeric', '$3')}
     where dataset = $1 and position is not null`,
    [dataset, String(position), asOf],
  );
}

/**
 * A scan is about to write documents as of its end.
 * @returns false: the position is another by now, or another scan is to be first
 */
export async function announceEnd(
  db: Queryable,
  dataset: string,
  generation: number,
  end: bigint,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.kudu_index_feeds set ends = case when ends = '{}' then array[$3::numeric] else ends end
     where dataset = $1 and generation = $2 and position <= $3 and (ends = '{}' or ends[1] = $3)`,
    [dataset, generation, String(end)],
  );
  return rowCount === 1;
}

/**
 * Everything before `position` is in the index.
 * @param asOf by the database's clock; null: that is some time ago
 * @returns false: the position was set or forgotten meanwhile, or another scan is to be first
 */
export async function advancePosition(
  db: Queryable,
  dataset: string,
  generation: number,
  position: bigint,
  asOf: string | null,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.kudu_index_feeds set position = $3, as_of = coalesce($4, as_of), caught_up = $4 is not null,
       ends = array_remove(ends, $3::numeric)
     where dataset = $1 and generation = $2 and position <= $3 and (ends = '{}' or ends[1] >= $3)`,
    [dataset, generation, String(position), asOf],
  );
  return rowCount === 1;
}

/** From now on the index is behind. @param asOf when it was not, by the database's clock; null: as it was last written down */
export async function recordBehind(
  db: Queryable,
  dataset: string,
  generation: number,
  asOf: string | null,
): Promise<void> {
  await db.query(
    `update imagehub.kudu_index_feeds set caught_up = false, as_of = coalesce($3, as_of)
     where dataset = $1 and generation = $2 and caught_up`,
    [dataset, generation, asOf],
  );
}

/** Kudu does not have the changes since the position any more. */
export async function forgetPosition(db: Queryable, dataset: string, generation: number): Promise<void> {
  await db.query(
    `update imagehub.kudu_index_feeds set position = null, as_of = null, caught_up = false, generation = generation + 1
     where dataset = $1 and generation = $2`,
    [dataset, generation],
  );
}

/**
 * How far the indexes of datasets in Kudu are behind: age of the oldest change that may not be there, s; null: not known, as the
 * index is to be built first.
 * @param followed whether an indexer runs
 */
export async function readKuduLags(db: Queryable, followed: boolean): Promise<Map<string, number | null>> {
  const { rows } = await db.query<{ dataset: string; seconds: number | null }>(
    `select k.dataset, case when f.caught_up and $1 then 0
                            else extract(epoch from clock_timestamp() - f.as_of)::float8 end as seconds
       from imagehub.kudu_stores k left join imagehub.kudu_index_feeds f using (dataset)`,
    [followed],
  );
  return new Map(rows.map(({ dataset, seconds }) => [dataset, seconds]));
}
