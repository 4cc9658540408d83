import type { Row, Table } from '../../kudu/index.ts';
import type { PoolClient } from '../../sql/database.ts';
import { type LabelRow, microsSql, readLabelRows } from '../label-rows.ts';

/** Images per statement. */
const AT_ONCE = 5000;

/** As far as it is needed here: a write that holds the locks of the images. */
interface LabelWriter {
  readonly table: Table;
  readonly revision: number;
  write(operations: (readonly ['update', Row & { id: string }])[]): Promise<unknown>;
}

/** A label that is committed, and not written to Kudu yet. */
interface PendingLabel {
  id: string;
  label: number | null;
  by: string | null;
  at: string | null;
  oldLabel: number | null;
  oldBy: string | null;
  oldAt: string | null;
}

/**
 * Writes what people said of these images and what is not in Kudu yet. Labels are committed in Postgres first, with their
 * history: all of an operation or nothing. Every write begins with this, so that nobody decides by a label that is not the
 * image's any more, and none is promised for an image that was deleted since.
 * @param client in the transaction that the write's locks end with: until that is committed the label stays promised
 */
export async function writePendingLabels(
  client: PoolClient,
  write: LabelWriter,
  dataset: string,
  ids: readonly string[],
): Promise<void> {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const { rows } = await client.query<PendingLabel>(
      `delete from imagehub.pending_labels where dataset = $1 and id = any($2)
       returning id, known_label as label, labelled_by as by, ${microsSql('labelled_at')} as at,
         old_known_label as "oldLabel", old_labelled_by as "oldBy", ${microsSql('old_labelled_at')} as "oldAt"`,
      [dataset, ids.slice(from, from + AT_ONCE)],
    );
    if (rows.length === 0) continue;
    const found = await readLabelRows(
      write.table,
      rows.map(({ id }) => id),
    );
    const { revision } = write;
    await write.write(
      rows
        .filter((pending) => takesPlaceOf(pending, found.get(pending.id)))
        .map(({ id, label, by, at }) => [
          'update',
          { id, known_label: label, labelled_by: by, labelled_at: at === null ? null : BigInt(at), revision },
        ]),
    );
  }
}

/**
 * Not of an image that somebody deleted in Kudu, and not of a label that another person set there since. (One that is the
 * pending one already was written before a crash.)
 */
function takesPlaceOf({ oldLabel, oldBy, oldAt }: PendingLabel, now: LabelRow | undefined): boolean {
  if (now === undefined) return false;
  if (now.by === null) return true;
  return now.label === oldLabel && now.by === oldBy && (now.at?.toString() ?? null) === oldAt;
}
