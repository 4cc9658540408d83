import type { Dataset } from '../../sql/datasets.ts';
import { resolveLabel, ruleLabel } from '../labels.ts';
import type { SourceImage } from './image.ts';

export interface UnknownLabel {
  label: string;
  images: number;
  /** The first image that has it. */
  example: string;
}

/** Labels that name no class are stored as unknown by the ingest; whoever sends them should hear of it at once. */
export function countUnknownLabels(dataset: Dataset) {
  const unknown = new Map<string, UnknownLabel>();
  return {
    check({ id, label = ruleLabel(dataset, id) ?? '' }: SourceImage): void {
      if (label === '' || resolveLabel(label, dataset.classes) !== null) return;
      const entry = unknown.get(label) ?? { label, images: 0, example: id };
      entry.images++;
      unknown.set(label, entry);
    },
    report: (): UnknownLabel[] => [...unknown.values()].sort((a, b) => b.images - a.images),
  };
}
