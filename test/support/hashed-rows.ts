import { type Pool, transaction } from '../../sql/database.ts';

/** An image as the duplicates of a dataset are told by. */
export interface HashedImage {
  id: string;
  phash: bigint | null;
  /** What the bytes are, in words; left out: its id, so that no other image has them. */
  bytes?: string;
  known?: number | null;
  /** Pixels a side. */
  side?: number;
}

/** Puts images into a dataset as if messages had brought them, those first in the list first. */
export async function insertHashed(pool: Pool, dataset: string, images: HashedImage[]): Promise<void> {
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public.${dataset} (id, image_base64, image_pgm, phash, sha256, known_label, width, height, byte_size,
         source_topic, source_partition, source_epoch, source_offset, source_timestamp, ingested_at)
       select id, bytes, '', phash, sha256(bytes::bytea), known, side, side, length(bytes),
         'hashed', 0, 0, n, now(), now() + n * interval '1 ms'
       from unnest($1::text[], $2::bigint[], $3::text[], $4::int[], $5::int[]) with ordinality as t (id, phash, bytes, known, side, n)`,
      [
        images.map(({ id }) => id),
        images.map(({ phash }) => (phash === null ? null : BigInt.asIntN(64, phash))),
        images.map(({ id, bytes = id }) => bytes),
        images.map(({ known = null }) => known),
        images.map(({ side = 32 }) => side),
      ],
    );
  });
}
