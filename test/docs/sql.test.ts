import { expect, test } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { dashboards } from '../../grafana/dashboards.ts';
import { digitsDataset, insertOutcomes } from '../support/image-rows.ts';
import { freshDatabase, uniqueName } from '../support/servers.ts';
import { expandSql } from '../support/grafana.ts';

const guide = new URL('../../docs/sql.md', import.meta.url);
const blocks = [...(await readFile(guide, 'utf8')).matchAll(/^```sql\n(.*?)^```/gms)].map(([, sql]) => sql!);

test('every statement of docs/sql.md runs, and its roles may do what they are for and no more', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertOutcomes(db.pool, 'mnist', [
    [7, 1, 30],
    [7, 7, 30],
  ]);
  await db.pool.query("update mnist set format = 'png'");
  // Roles belong to the server, not to the database: other tests' must not meet ours.
  const [analyst, labeller] = [uniqueName('analyst'), uniqueName('labeller')];
  const client = await db.pool.connect();
  try {
    expect(blocks.length).toBeGreaterThan(4);
    for (const sql of blocks) {
      await client.query(sql.replaceAll('labeller', labeller).replaceAll('analyst', analyst));
    }

    await client.query(`set role ${labeller}`);
    const { rowCount } = await client.query("update mnist set known_label = 3 where id = '1/1'");
    expect(rowCount).toBe(1);
    const { rows } = await client.query(
      "select old_label, new_label from imagehub.label_changes where id = '1/1'",
    );
    expect(rows).toEqual([{ old_label: 7, new_label: 3 }]);
    await expect(client.query("update mnist set prediction = 3 where id = '1/1'")).rejects.toMatchObject({
      code: '42501',
    });

    await client.query(`reset role; set role ${analyst}`);
    await expect(client.query('update mnist set known_label = 3')).rejects.toMatchObject({ code: '42501' });
    const expansion = {
      variables: { dataset: 'mnist' },
      from: new Date(0),
      to: new Date(),
      intervalS: 60,
      scrapeIntervalS: 15,
    };
    for (const { panels = [] } of Object.values(dashboards())) {
      for (const panel of panels) {
        for (const target of 'targets' in panel ? (panel.targets ?? []) : []) {
          const { rawSql } = target as { rawSql?: string };
          if (rawSql !== undefined) await client.query(expandSql(rawSql, expansion));
        }
      }
    }
  } finally {
    await client.query(
      `reset role; drop owned by ${labeller}, ${analyst}; drop role ${labeller}, ${analyst}`,
    );
    client.release(true);
  }
});
