import { type BackboneRef, loadBackboneRef } from '../classifier/features/backbone.ts';
import { loadModelRef, type ModelRef } from '../classifier/model-ref.ts';
import { loadShadowRef, type ShadowRef } from '../classifier/shadow-ref.ts';
import { HubError } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import { getBackbone } from '../sql/backbones.ts';
import type { Queryable } from '../sql/database.ts';
import { type Dataset, getDataset, readDatasetVersion } from '../sql/datasets.ts';

/** A dataset as it is now, with the model that its new images are classified by. */
export interface LiveDataset {
  dataset: Dataset;
  /** null: nothing was promoted yet. */
  model: ModelRef | null;
  /** Predicts them too, beside it; null: there is none. */
  shadow: ShadowRef | null;
  /** Whose features they get; null: none. */
  backbone: BackboneRef | null;
  /** Compared, when rows are written, with what the dataset is then. */
  version: string;
}

/**
 * Datasets and live models, kept in memory. Stale entries do no harm: the transaction that writes a batch notices a
 * model that is no longer live, classes that were added, or another dataset of the same name, and then `refresh` is called.
 */
export class LiveDatasets {
  readonly #db: Queryable;
  readonly #liveModel: Metrics['liveModel'];
  readonly #known = new Map<string, Promise<LiveDataset>>();
  /** What the metric shows, by dataset. */
  readonly #shown = new Map<string, { dataset: string; model: number; promotion: number }>();

  constructor(db: Queryable, { liveModel }: Pick<Metrics, 'liveModel'>) {
    this.#db = db;
    this.#liveModel = liveModel;
  }

  /** @throws HubError NOT_FOUND */
  get(name: string): Promise<LiveDataset> {
    return this.#known.get(name) ?? this.refresh(name);
  }

  /** Reads the dataset again; the model's bytes only when it is another one. */
  refresh(name: string): Promise<LiveDataset> {
    const before = this.#known.get(name);
    const now = this.#read(name, before);
    this.#known.set(name, now);
    now.then(
      (live) => this.#show(name, live),
      (error: unknown) => {
        if (this.#known.get(name) === now) this.#known.delete(name);
        if (error instanceof HubError && error.code === 'NOT_FOUND') this.#show(name, null);
      },
    );
    return now;
  }

  #show(name: string, live: LiveDataset | null): void {
    const before = this.#shown.get(name);
    const model = live?.model?.id;
    const promotion = live?.dataset.promotionNo;
    if (before?.model === model && before?.promotion === promotion) return;
    if (before) this.#liveModel.remove(before);
    this.#shown.delete(name);
    if (model === undefined || promotion === undefined) return;
    const now = { dataset: name, model, promotion };
    this.#shown.set(name, now);
    this.#liveModel.set(now, 1);
  }

  async #read(name: string, before: Promise<LiveDataset> | undefined): Promise<LiveDataset> {
    // Read first: if the dataset changes in between, the version is the older one and the write is refused.
    const version = (await readDatasetVersion(this.#db, name)) ?? '';
    const dataset = await getDataset(this.#db, name);
    const known = await before?.catch(() => null);
    const { liveModelId, shadowModelId } = dataset;
    const kept = [known?.model, known?.shadow?.model];
    const keptModel = (id: number) => kept.find((model) => model?.id === id);
    const model =
      liveModelId === null ? null : (keptModel(liveModelId) ?? (await loadModelRef(this.#db, liveModelId)));
    const shadow = await this.#shadow(shadowModelId, keptModel);
    const backbone = await this.#backbone(dataset.featuresBackbone, known?.backbone);
    return { dataset, model, shadow, backbone, version };
  }

  async #backbone(name: string | null, known: BackboneRef | null | undefined): Promise<BackboneRef | null> {
    if (name === null) return null;
    try {
      const stored = await getBackbone(this.#db, name);
      return known?.id === stored.id ? known : await loadBackboneRef(this.#db, stored);
    } catch (error) {
      // Deleted since the dataset was read, which is then another version, and is read again when rows are written.
      if (error instanceof HubError) return null;
      throw error;
    }
  }

  async #shadow(
    id: number | null,
    keptModel: (id: number) => ModelRef | null | undefined,
  ): Promise<ShadowRef | null> {
    if (id === null) return null;
    const model = keptModel(id);
    return model ? { id, model, error: null } : loadShadowRef(this.#db, id);
  }
}
