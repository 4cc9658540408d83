import type { Queryable } from '../../sql/database.ts';

/** Which part of which job. */
export interface PartName {
  job: number;
  part: number;
}

/** What a verdict means for the part's counts. */
export interface SaidOf {
  /** Another class than before. */
  changed: boolean;
  failed: boolean;
  /** Another model's prediction was kept. */
  superseded: boolean;
}

/**
 * What an attempt at a part is about to write to Kudu. It is committed before; an attempt that died before its own transaction
 * was committed left rows with this revision, or none, and whoever does the part again counts them as written by it.
 */
export interface PartWrite {
  revision: number;
  /** Looked at. */
  images: number;
  said: Map<string, SaidOf>;
}

/** In a transaction of its own. */
export async function notePartWrite(
  client: Queryable,
  { job, part }: PartName,
  { revision, images, said }: PartWrite,
): Promise<void> {
  const all = [...said.values()];
  await client.query(
    `insert into imagehub.kudu_part_writes (job, part, revision, images, ids, changed, failed, superseded)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      job,
      part,
      revision,
      images,
      [...said.keys()],
      all.map(({ changed }) => changed),
      all.map(({ failed }) => failed),
      all.map(({ superseded }) => superseded),
    ],
  );
}

/** Those of earlier attempts, oldest first. */
export async function readPartWrites(db: Queryable, { job, part }: PartName): Promise<PartWrite[]> {
  const { rows } = await db.query<
    { revision: number; images: number; ids: string[] } & Record<keyof SaidOf, boolean[]>
  >(
    `select revision, images, ids, changed, failed, superseded from imagehub.kudu_part_writes
     where job = $1 and part = $2 order by revision`,
    [job, part],
  );
  return rows.map(({ revision, images, ids, changed, failed, superseded }) => ({
    revision,
    images,
    said: new Map(
      ids.map((id, i) => [id, { changed: changed[i]!, failed: failed[i]!, superseded: superseded[i]! }]),
    ),
  }));
}

/** In the part's transaction: what is counted then need not be known any more. */
export async function forgetPartWrites(client: Queryable, { job, part }: PartName): Promise<void> {
  await client.query('delete from imagehub.kudu_part_writes where job = $1 and part = $2', [job, part]);
}
