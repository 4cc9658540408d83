import { HubError } from '../../errors.ts';
import { getBackbone, readBackboneBytes, type StoredBackbone } from '../../sql/backbones.ts';
import type { Queryable } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { parseBackbone } from '../features/backbone.ts';
import { headManifest, withHead } from '../features/head.ts';
import { scaleTable } from '../manifest.ts';
import { networkManifest } from '../train/export.ts';
import type { CellSubject, CellTask, SharedImages } from './cell-thread.ts';
import { type CellSettings, scalingOfCell } from './plan.ts';
import type { SweepSpec } from './spec.ts';
import type { SweepImages, WindowData } from './sweep-data.ts';

/** The backbone of a sweep's specification; null: it is about pixels. @throws HubError NOT_FOUND */
export const backboneOf = async (
  db: Queryable,
  { backbone }: Pick<SweepSpec, 'backbone'>,
): Promise<StoredBackbone | null> => (backbone === undefined ? null : getBackbone(db, backbone));

/** What a cell's thread trains on, and what model that will be. */
export function networkTask(
  { classes, background }: Dataset,
  settings: CellSettings,
  { training, test }: WindowData,
  backbone: StoredBackbone | null,
): Pick<CellTask, 'subject' | 'manifest' | 'training' | 'test'> {
  const images = { training: shared(training), test: test && shared(test) };
  if (backbone) {
    const subject: CellSubject = { kind: 'features', output: parseBackbone(backbone.manifest).output.name };
    return { ...images, subject, manifest: headManifest(backbone, classes) };
  }
  const scaling = scalingOfCell(settings);
  const image = { ...training.size!, channels: 1 as const };
  return {
    ...images,
    subject: { kind: 'pixels', table: scaleTable(scaling), image },
    manifest: networkManifest({ ...image, scaling, classes, background }),
  };
}

/** What a thread needs of them: the rest would be copied. */
const shared = ({ width, inputs, labels }: SweepImages): SharedImages => ({ width, inputs, labels });

/**
 * Refuses a backbone that is another than the cells' own: one of that name was deleted, and another added.
 * @throws HubError CONFLICT
 */
export function checkSameBackbone(
  { backbone: own }: Pick<CellSettings, 'backbone'>,
  backbone: StoredBackbone | null,
): void {
  if (own?.sha256 === backbone?.sha256) return;
  throw new HubError('CONFLICT', `Backbone ${own?.name} is another network now than when the sweep began.`, {
    hint: 'Start the sweep again: features of one network say nothing to a head of another.',
  });
}

/** A cell's network as a model of its own: a head gets its backbone. @throws HubError CONFLICT, NOT_FOUND, BAD_MODEL */
export async function wholeModel(
  db: Queryable,
  settings: CellSettings,
  network: Uint8Array,
): Promise<Uint8Array> {
  if (!settings.backbone) return network;
  const backbone = await getBackbone(db, settings.backbone.name);
  checkSameBackbone(settings, backbone);
  return withHead(backbone, await readBackboneBytes(db, backbone.id), network);
}
