import { checkCondition, selectionError } from './selection.ts';
import { type ImageTally, partitionOf, queryBy, type StoredImages } from './stored-images.ts';
import { sqlRows } from './stored-rows.ts';
import { holdSnapshot, streamSnapshot } from './stream-snapshot.ts';

/** Of so many images the size is averaged. */
const SAMPLE = 1000;

const stream: StoredImages['stream'] = async function* (pool, request, read) {
  const { dataset, selection, option, snapshot, prepare } = request;
  const images = partitionOf(dataset);
  try {
    const checked = async function* (client: Parameters<typeof read>[0]) {
      await checkCondition(client, images, selection, option);
      yield* read(client, images);
    };
    yield* streamSnapshot(pool, checked, snapshot, prepare && ((client) => prepare(client, images)));
  } catch (error) {
    throw selectionError(error, dataset, selection ?? {}, option);
  }
};

/** Images read from the dataset's partition. */
export const postgresImages: StoredImages = {
  rows: (pool, request, limits) =>
    stream(pool, request, (client, images) => sqlRows(client, images, request, limits)),
  stream,
  query: queryBy(stream),
  async tally(db, dataset) {
    const { rows } = await db.query<ImageTally>(
      `select known_label as "knownLabel", prediction, labelled_by is not null as "byPerson", count(*) as images
       from public."${dataset}" group by 1, 2, 3`,
    );
    return rows;
  },
  reduced: () => Promise.resolve(0),
  hold: holdSnapshot,
  async imageBytes(pool, dataset) {
    const { rows } = await pool.query<{ bytes: number | null }>(
      `select avg(octet_length(image_base64))::float8 as bytes
       from (select image_base64 from public."${dataset}" limit ${SAMPLE}) sample`,
    );
    return rows[0]!.bytes;
  },
};
