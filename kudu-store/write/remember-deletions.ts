import type { PoolClient } from '../../sql/database.ts';
import { timeSql } from '../label-rows.ts';
import type { Coordinates } from './coordinates.ts';

/** An image that is gone as soon as this is committed. */
export interface NewDeletion {
  id: string;
  /** Only newer messages bring it back; null: any does, but for what an earlier deletion says. */
  at: Coordinates | null;
  /** Rows that go, as the books count them. */
  deletions: 0 | 1;
  /** There is a row, which is to be taken away once this is committed (kudu-store/write/pending-deletions.ts). */
  inKudu: boolean;
}

/** Remembers deletions in Postgres, as done by whoever acts. @param client holds the locks of the images */
export async function rememberDeletions(
  client: PoolClient,
  dataset: string,
  deletions: readonly NewDeletion[],
): Promise<void> {
  await client.query({
    name: 'remember-deletions',
    text: REMEMBER,
    values: [
      dataset,
      deletions.map(({ id }) => id),
      deletions.map(({ at }) => at?.topic ?? null),
      deletions.map(({ at }) => at?.partition ?? null),
      deletions.map(({ at }) => at?.epoch ?? null),
      deletions.map(({ at }) => at?.offset ?? null),
      deletions.map(({ at }) => at?.micros.toString() ?? null),
      deletions.map((one) => one.deletions),
      deletions.map(({ inKudu }) => inKudu),
    ],
  });
}

const REMEMBER = `
insert into imagehub.deleted_images as d
  (dataset, id, source_topic, source_partition, source_epoch, source_offset, source_timestamp, deletions, deleted_by, in_kudu)
select $1, t.id, t.topic, t.part, t.epoch, t.off, ${timeSql('t.micros')}, t.deletions, imagehub.acting_user(), t.in_kudu
from unnest($2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[], $7::bigint[], $8::int[], $9::boolean[])
  as t (id, topic, part, epoch, off, micros, deletions, in_kudu)
order by t.id
on conflict (dataset, id) do update set
  source_topic = coalesce(excluded.source_topic, d.source_topic),
  source_partition = coalesce(excluded.source_partition, d.source_partition),
  source_epoch = coalesce(excluded.source_epoch, d.source_epoch),
  source_offset = coalesce(excluded.source_offset, d.source_offset),
  source_timestamp = coalesce(excluded.source_timestamp, d.source_timestamp),
  deletions = d.deletions + excluded.deletions, deleted_by = excluded.deleted_by, deleted_at = now(), restored_at = null,
  in_kudu = excluded.in_kudu, revision = nextval('imagehub.revision')`;
