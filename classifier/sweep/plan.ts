import type { StoredBackbone } from '../../sql/backbones.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { Sample } from '../../sql/selection.ts';
import type { NewCell } from '../../sql/sweeps.ts';
import type { Scaling } from '../manifest.ts';
import { scalingOf, type TrainingOptions } from '../train/defaults.ts';
import { checkSize, expandGrid } from './grid.ts';
import { defaultsOf, hashOf, type SweepSpec } from './spec.ts';
import { sizeOf } from './sweep-data.ts';
import type { DataWindow } from './windows.ts';

/** Everything that a cell's network depends on, besides the images; cells with the same are computed once. */
export interface CellSettings {
  options: TrainingOptions;
  threshold: number | null;
  size: string | null;
  limit: number | null;
  /** Left out, as before there were any: all images; pixels. */
  sample?: Omit<Sample, 'seed'>;
  backbone?: Pick<StoredBackbone, 'name' | 'sha256'>;
  /** How many the dataset has: the network has an output for each, with images or without. */
  classes: number;
}

export interface PlannedCell extends NewCell {
  /** How much work it is, for the time left: billions of multiplications of its forward passes. */
  units: number;
}

const UNIT = 1e9;
/** int4, as parts have it. */
const MOST_UNITS = 2 ** 31 - 1;
/** Where --size does not say it; only the time left hangs on it. */
const USUAL_INPUTS = 28 * 28;

/**
 * The cells of a sweep: windows one after the other, so that their images need not be read again, and in each the grid.
 * @param backbone that of the specification
 * @throws HubError USAGE
 */
export function planCells(
  { classes }: Dataset,
  spec: SweepSpec,
  windows: DataWindow[],
  backbone: StoredBackbone | null,
): PlannedCell[] {
  const grid = expandGrid(spec.grid, defaultsOf(spec));
  checkSize(grid.length * windows.length);
  const { threshold, size, limit, sample } = spec;
  const inputs = backbone?.features ?? inputsOf(size);
  return windows.flatMap(({ images, label, where = null, since = null, until = null }) =>
    grid.map((options) => {
      const settings: CellSettings = {
        options,
        threshold,
        size,
        limit,
        classes: classes.length,
        ...(sample && { sample }),
        ...(backbone && { backbone: { name: backbone.name, sha256: backbone.sha256 } }),
      };
      const sizes = [inputs, ...options.hidden, classes.length];
      const weights = sizes.slice(1).reduce((sum, outputs, layer) => sum + sizes[layer]! * outputs, 0);
      const work =
        (weights * options.epochs * Math.min(images * (sample?.share ?? 1), limit ?? Infinity)) / UNIT;
      const units = Math.min(MOST_UNITS, Math.max(1, Math.round(work)));
      return { label, where, since, until, settings, settingsHash: hashOf(settings), units };
    }),
  );
}

function inputsOf(size: string | null): number {
  const { width, height } = sizeOf(size) ?? { width: USUAL_INPUTS, height: 1 };
  return width * height;
}

/** How a cell's pixels enter its network. */
export function scalingOfCell({ options, threshold }: CellSettings): Scaling {
  const scaling = scalingOf(options.scale);
  return scaling.kind === 'binarise' && threshold !== null ? { ...scaling, threshold } : scaling;
}
