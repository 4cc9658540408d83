import { actAs } from './acting-user.ts';
import { type Pool, type Queryable, transaction } from './database.ts';

/** Images that are no duplicates of each other, as somebody said. */
export interface IgnoredGroup {
  /** Its name when it was ignored. */
  group: string;
  ids: string[];
  by: string;
  at: Date;
}

/** What was ignored in a dataset, oldest first. */
export async function listIgnored(db: Queryable, dataset: string): Promise<IgnoredGroup[]> {
  const { rows } = await db.query<IgnoredGroup>(
    `select g.group_id as "group", array_agg(g.id order by g.id) as ids, min(g.ignored_by) as by, min(g.ignored_at) as at
     from imagehub.ignored_duplicates g where g.dataset = $1 group by g.set_no, g.group_id order by g.set_no`,
    [dataset],
  );
  return rows;
}

/** Per image, the ignored sets that it is in and the bytes (SHA-256) that it was said of. */
export async function readIgnoredSets(
  db: Queryable,
  dataset: string,
): Promise<Map<string, { set: number; sha256: Buffer }[]>> {
  const { rows } = await db.query<{ id: string; set: number; sha256: Buffer }>(
    'select id, set_no as set, sha256 from imagehub.ignored_duplicates where dataset = $1',
    [dataset],
  );
  const sets = new Map<string, { set: number; sha256: Buffer }[]>();
  for (const { id, ...entry } of rows) sets.set(id, [...(sets.get(id) ?? []), entry]);
  return sets;
}

/** Remembers of each group that its images are no duplicates of each other. */
export async function ignoreGroups(
  pool: Pool,
  dataset: string,
  groups: { group: string; images: { id: string; sha256: Uint8Array }[] }[],
  by: string | undefined,
): Promise<void> {
  const rows = groups.flatMap(({ group, images }, number) =>
    images.map(({ id, sha256 }) => ({ number, group, id, sha256 })),
  );
  await transaction(pool, async (client) => {
    await actAs(client, by);
    await client.query(
      `with numbered as materialized (
         select number, nextval('imagehub.ignored_duplicates_set') as set_no
         from generate_series(0, $5::int - 1) number
       )
       insert into imagehub.ignored_duplicates (dataset, set_no, group_id, id, sha256)
       select $1, n.set_no, t.group_id, t.id, t.sha256
       from unnest($2::int[], $3::text[], $4::text[], $6::bytea[]) as t (number, group_id, id, sha256)
         join numbered n using (number)`,
      [
        dataset,
        rows.map(({ number }) => number),
        rows.map(({ group }) => group),
        rows.map(({ id }) => id),
        groups.length,
        rows.map(({ sha256 }) => Buffer.from(sha256)),
      ],
    );
  });
}

/**
 * Takes back that groups were ignored.
 * @param groups names of groups, or images in them; null: all of the dataset
 * @returns how many groups, and of the names those that name none
 */
export async function unignoreGroups(
  db: Queryable,
  dataset: string,
  groups: string[] | null,
): Promise<{ groups: number; unknown: string[] }> {
  const { rows } = await db.query<{ groups: number; unknown: string[] }>(
    `with gone as (
       delete from imagehub.ignored_duplicates g
       where g.dataset = $1 and ($2::text[] is null or g.set_no in (
         select s.set_no from imagehub.ignored_duplicates s
         where s.dataset = $1 and (s.id = any($2) or s.group_id = any($2))))
       returning g.set_no, g.id, g.group_id
     )
     select (select count(distinct set_no) from gone) as groups,
            array(select name from unnest($2::text[]) name
                  where not exists (select from gone where gone.id = name or gone.group_id = name)) as unknown`,
    [dataset, groups],
  );
  return rows[0]!;
}
