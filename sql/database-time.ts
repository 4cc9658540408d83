import type { Queryable } from './database.ts';

/** After everything that was ingested until now, by the clock of the database, which says when that was. */
export async function databaseTime(db: Queryable): Promise<Date> {
  const { rows } = await db.query<{ now: Date }>('select clock_timestamp() as now');
  // Cut to milliseconds on its way here.
  return new Date(rows[0]!.now.getTime() + 1);
}

/** The clock of the database, as text that it reads as the same moment, to the microsecond. */
export async function databaseClock(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ at: string }>('select clock_timestamp()::text as at');
  return rows[0]!.at;
}
