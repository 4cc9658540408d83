import { expect, test } from '@jest/globals';
import { readdir } from 'node:fs/promises';
import { openPool } from '../../sql/database.ts';
import { migrate } from '../../sql/migrate.ts';
import { freshDatabase, testServers, uniqueName } from '../support/servers.ts';
import { databaseUrl, dropDatabase, onServer } from '../support/template.ts';

const migrations = async () =>
  (await readdir(new URL('../../sql/migrations/', import.meta.url)))
    .filter((file) => file.endsWith('.sql'))
    .sort();

test('several processes that migrate an empty database at once apply everything exactly once', async () => {
  const { postgres } = testServers();
  const name = uniqueName('migrate');
  await onServer(postgres, `create database ${name}`);
  try {
    const pools = [1, 2, 3].map(() => openPool(databaseUrl(postgres, name)));
    const applied = (await Promise.all(pools.map(migrate))).flat();
    expect(applied.sort()).toEqual([...(await migrations()), 'views']);
    expect(await migrate(pools[0]!)).toEqual([]);
    await Promise.all(pools.map((pool) => pool.end()));
  } finally {
    await dropDatabase(postgres, name);
  }
});

/** As if the database had the views of another version. */
const FORGET_VIEWS =
  "update imagehub.migrations set name = 'views of another version' where name like 'views %'";

test('a view of another version is replaced in place: grants on it and views over it stay', async () => {
  await using db = await freshDatabase();
  const reader = uniqueName('reader');
  await db.pool.query(
    `create or replace view public.class_counts as
       select dataset, index as class_index, name as class, 0::bigint as predicted, 0::bigint as correct, 0::bigint as known
       from imagehub.classes;
     create view public.my_counts as select * from public.class_counts;
     create role ${reader}; grant select on public.class_counts to ${reader};
     ${FORGET_VIEWS}`,
  );
  try {
    expect(await migrate(db.pool)).toEqual(['views']);
    const { rows } = await db.pool.query(
      `select has_table_privilege($1, 'public.class_counts', 'select') as granted,
              pg_get_viewdef('public.class_counts'::regclass) like '%images%' as replaced,
              to_regclass('public.my_counts') is not null as kept`,
      [reader],
    );
    expect(rows).toEqual([{ granted: true, replaced: true, kept: true }]);
    expect(await migrate(db.pool)).toEqual([]);
  } finally {
    await db.pool.query(`drop owned by ${reader}; drop role ${reader}`);
  }
});

test('a view whose columns changed is made anew, unless something else is built on it', async () => {
  await using db = await freshDatabase();
  await db.pool.query(
    `drop view public.class_counts; create view public.class_counts as select 1 as other;
     create view public.mine as select other from public.class_counts; ${FORGET_VIEWS}`,
  );
  await expect(migrate(db.pool)).rejects.toMatchObject({
    code: 'CONFLICT',
    hint: expect.stringContaining('imagehub migrate'),
  });
  await db.pool.query('drop view public.mine');
  expect(await migrate(db.pool)).toEqual(['views']);
  await db.pool.query('select dataset, class, predicted from public.class_counts');
});
