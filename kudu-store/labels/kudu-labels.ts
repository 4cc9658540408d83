import { errorText, HubError } from '../../errors.ts';
import { actAs } from '../../sql/acting-user.ts';
import type { Pool } from '../../sql/database.ts';
import type { ImageLabel } from '../../sql/label-history.ts';
import { noSuchOperation, relabelInChunks, ROWS_AT_ONCE, type UndoResult } from '../../sql/relabel.ts';
import type { StoredLabels } from '../../sql/stored-labels.ts';
import { carryOutLabels } from './carry-out-labels.ts';
import type { WriteContext } from '../write/guarded-write.ts';
import { keepPromise, promise } from '../write/promise.ts';
import { labelColumns, labelRowsSql, readLabelRows } from '../label-rows.ts';
import { checkClasses, promiseLabels } from './relabel.ts';
import { kuduProblem } from '../table.ts';
import { beginUndo, imagesOfOperation, promiseOldLabels } from './undo-labels.ts';

/**
 * Labels of images in Kudu, which has no transactions over rows:
 *
 *   lock all images ─▶ read their labels ─▶ history and pending labels in Postgres, committed ─▶ written to Kudu, some at a time
 *
 * What is not committed has not happened, what is committed happens: here, or with the next write to the image, the next
 * relabelling, or a running ingest (kudu-store/labels/carry-out-labels.ts).
 */
export class KuduLabels implements StoredLabels {
  readonly #context: WriteContext;

  constructor(context: WriteContext) {
    this.#context = context;
  }

  relabel: StoredLabels['relabel'] = async (pool, { name: dataset }, relabelling, options, check) => {
    const { onProgress } = options;
    let images = 0;
    const promised = await promise(this.#context, pool, dataset, relabelling.ids, async (client, write) => {
      await checkClasses(client, dataset, relabelling.labels);
      const decided = (done: number, total: number) => onProgress?.(done >> 1, total);
      const result = await relabelInChunks(
        client,
        relabelling,
        { ...options, onProgress: decided },
        check ?? (() => undefined),
        (chunk, operation) => promiseLabels(client, write, dataset, operation, chunk),
      );
      images = result.images;
      return result;
    });
    const { operation, changed, confirmed } = promised;
    if (operation === null) return promised;
    let written = 0;
    await this.#carryOut(pool, dataset, operation, (more) => {
      written = Math.min(written + more, changed + confirmed);
      onProgress?.(Math.floor((images * (1 + written / (changed + confirmed))) / 2), images);
    });
    onProgress?.(images, images);
    return promised;
  };

  undo: StoredLabels['undo'] = async (pool, dataset, undone, { by, detail }) => {
    const ids = await imagesOfOperation(pool, dataset, undone);
    if (ids.length === 0) throw noSuchOperation(dataset, undone);
    const result = await promise(
      this.#context,
      pool,
      dataset,
      ids,
      async (client, write): Promise<UndoResult> => {
        await actAs(client, by);
        const operation = await beginUndo(client, undone, detail);
        let restored = 0;
        let deleted = 0;
        for (let from = 0; from < ids.length; from += ROWS_AT_ONCE) {
          const chunk = ids.slice(from, from + ROWS_AT_ONCE);
          const done = await promiseOldLabels(client, write, dataset, { operation, undoes: undone }, chunk);
          restored += done.restored;
          deleted += done.deleted;
        }
        return { operation, undone, restored, deleted, changedSince: ids.length - restored - deleted };
      },
    );
    if (result.restored > 0) await this.#carryOut(pool, dataset, result.operation);
    return result;
  };

  read: StoredLabels['read'] = async (pool, dataset, ids) => {
    try {
      await this.#context.connection.client();
      const table = await this.#context.tables.get(pool, dataset);
      const labels: ImageLabel[] = [];
      for (let from = 0; from < ids.length; from += ROWS_AT_ONCE) {
        const found = await readLabelRows(table, ids.slice(from, from + ROWS_AT_ONCE));
        const values = [...labelColumns([...found.values()]), dataset];
        labels.push(...(await pool.query<ImageLabel>(AS_PEOPLE_SEE_THEM, values)).rows);
      }
      return labels;
    } catch (error) {
      throw kuduProblem(error);
    }
  };

  /** @throws HubError SERVER_UNREACHABLE: the operation stands, and is to be written to Kudu still */
  async #carryOut(
    pool: Pool,
    dataset: string,
    operation: number,
    onWritten?: (images: number) => void,
  ): Promise<void> {
    try {
      await keepPromise(() => carryOutLabels(this.#context, pool, dataset, onWritten));
    } catch (cause) {
      throw new HubError(
        'SERVER_UNREACHABLE',
        `Operation ${operation} is recorded, but not all of its labels are in Kudu yet: ${errorText(cause)}`,
        {
          hint:
            'Do not repeat it: a running ingest (imagehub run) writes the rest when Kudu takes it, and so does the next relabelling; ' +
            `until then no message changes these labels. imagehub reconcile ${dataset} says how many are left.`,
          cause,
        },
      );
    }
  }
}

/** What is committed counts, whether it is in Kudu yet or not. */
const AS_PEOPLE_SEE_THEM = `
  select i.id, k.name as class, case when p.id is null then i.labelled_by else p.labelled_by end as by,
         case when p.id is null then i.labelled_at else p.labelled_at end as at
  from ${labelRowsSql()}
    left join imagehub.pending_labels p on p.dataset = $6 and p.id = i.id
    left join imagehub.classes k on k.dataset = $6
      and k.index = case when p.id is null then i.known_label else p.known_label end
  where not exists (select from imagehub.deleted_images d where d.dataset = $6 and d.id = i.id and d.restored_at is null)
  order by i.id`;
