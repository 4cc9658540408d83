import { countUnclassified, takeUnclassified, writeVerdicts } from './backlog.ts';
import { transaction } from './database.ts';
import type { StoredVerdicts } from './stored-verdicts.ts';

/** Verdicts on images that are rows of a dataset's partition. */
export const postgresVerdicts: StoredVerdicts = {
  async withBacklog(pool, { dataset, model, attempts }, most, work) {
    // One transaction, so that the rows are held while they are classified.
    return await transaction(pool, async (client) => {
      // The ingest's own labels and these predictions are no person's work.
      await client.query("set local imagehub.writer = 'ingest'");
      const images = await takeUnclassified(client, dataset, model.promotionNo, attempts, most);
      if (images.length === 0) return null;
      return await work({
        images,
        db: client,
        async write(verdicts, beside) {
          const tried = images.slice(0, verdicts.length);
          if (!(await writeVerdicts(client, dataset, model, tried, verdicts))) return false;
          await beside?.(client, tried);
          return true;
        },
      });
    });
  },
  countBacklog: (db, { dataset, model, attempts }) =>
    countUnclassified(db, dataset, model.promotionNo, attempts),
};
