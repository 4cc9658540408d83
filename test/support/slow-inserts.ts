import type { HubPool } from '../../sql/database.ts';

/** A dataset into which every row takes its time. */
export interface SlowInserts {
  /** How many have been begun. */
  rowsBegun(): Promise<number>;
  /** From now on rows are as fast as ever, those too that are being written. */
  end(): Promise<void>;
}

/** Makes every insert of a row into the dataset wait for so many seconds. */
export async function slowInserts(pool: HubPool, dataset: string, seconds: number): Promise<SlowInserts> {
  await pool.query(`
create table slowness (seconds float8 not null);
insert into slowness values (${seconds});
create sequence rows_begun;
create function slow_down() returns trigger language plpgsql as $$
begin
  perform nextval('rows_begun'), pg_sleep((select seconds from slowness));
  return new;
end $$;
create trigger slow_down before insert on ${dataset} for each row execute function slow_down();`);
  return {
    async rowsBegun() {
      const { rows } = await pool.query<{ begun: number }>('select last_value as begun from rows_begun');
      return rows[0]!.begun;
    },
    async end() {
      await pool.query('update slowness set seconds = 0');
      await pool.query(`drop trigger slow_down on ${dataset}`);
    },
  };
}
