import { HubError } from '../../errors.ts';
import type { Pool } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { getRun, type OpenRun, resumeRun, startRun } from '../../sql/runs.ts';
import type { Cell } from '../../sql/sweeps.ts';
import { heldOutClasses } from '../train/train.ts';
import type { CellSettings } from './plan.ts';
import type { WindowData } from './sweep-data.ts';

/**
 * The run of a cell's training: the one that an earlier attempt left unfinished, if that was on the same images, so that
 * it goes on from its checkpoint; else a new one.
 */
export async function openCellRun(
  pool: Pool,
  { name, classes }: Dataset,
  cell: Cell,
  { options, ...rest }: CellSettings,
  { training, test, sha256 }: WindowData,
): Promise<OpenRun> {
  const { sweep, cell: place, label, run: earlier } = cell;
  if (earlier !== null) {
    const left = await getRun(pool, earlier);
    if (left && left.state !== 'done' && left.parameters.dataSha256 === sha256) {
      try {
        return await resumeRun(pool, earlier);
      } catch (error) {
        // Another attempt has it, e.g. of a worker that was taken for dead: this one begins anew.
        if (!(error instanceof HubError) || error.code !== 'CONFLICT') throw error;
      }
    }
  }
  const parameters = {
    ...options,
    ...rest,
    sweep,
    cell: place,
    window: label,
    sizes: [training.width, ...options.hidden, classes.length],
    images: training.labels.length,
    testImages: test?.labels.length ?? null,
    skipped: training.skipped,
    heldOutClasses: heldOutClasses(training, options).map((label) => classes[label]!),
    dataSha256: sha256,
  };
  return startRun(pool, { dataset: name, kind: 'sweep', parameters });
}
