import type { Pool } from './database.ts';
import type { Dataset } from './datasets.ts';
import type { ImageLabel } from './label-history.ts';
import type { RelabelCheck, Relabelling, RelabelOptions, RelabelResult, UndoResult } from './relabel.ts';

/** What people say that the images of a store show. The history is in Postgres, wherever the images are. */
export interface StoredLabels {
  /**
   * Says of images what class they are: all of it happens, or nothing.
   * @throws HubError INTERRUPTED, CONFLICT: nothing was changed; SERVER_UNREACHABLE: the message says what was
   */
  relabel(
    pool: Pool,
    dataset: Pick<Dataset, 'name'>,
    relabelling: Relabelling,
    options: RelabelOptions,
    check?: RelabelCheck,
  ): Promise<RelabelResult>;
  /**
   * Takes an operation back: every image gets the label that it had, by whom it had it. Images relabelled since are left
   * alone and counted.
   * @throws HubError NOT_FOUND: the dataset has no such operation; as `relabel`
   */
  undo(
    pool: Pool,
    dataset: string,
    operation: number,
    options: Pick<RelabelOptions, 'by' | 'detail'>,
  ): Promise<UndoResult>;
  /** What images are said to be now, in the order of ids; those that are not there are left out. */
  read(pool: Pool, dataset: string, ids: string[]): Promise<ImageLabel[]>;
}
