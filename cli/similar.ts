import { findSimilar, type SimilarTo } from '../classifier/neighbours/similar.ts';
import { HubError } from '../errors.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { similarText } from './neighbours-text.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

type Options = SelectionOptions & { file?: string; backbone?: string; limit: string; json?: boolean };

export const similarCommand: RegisterCommand = (program) => {
  const command = program
    .command('similar <dataset> [id]')
    .description('images that are most similar to one, by a backbone’s features (imagehub features)')
    .option('--file <path>', 'similar to this image file, instead of one of the dataset')
    .option('--backbone <name>', 'whose features (default: the only one)')
    .option('--limit <n>', 'how many to show', '20');
  addSelectionOptions(command)
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, id: string | undefined, options: Options) => {
      const { backbone, file, limit: limitText, json: _, ...selecting } = options;
      const limit = wholeNumber('--limit', limitText, 1);
      const selection = parseSelection(selecting);
      const context = commandContext();
      const to = similarTo(dataset, id, file, context.config.maxPixels);
      await using hub = await openHub(context);
      const progress = createProgress({ label: 'comparing' });
      const found = await findSimilar(
        { ...hub, signal: interruptSignal(), onRead: (images) => progress.update(images) },
        dataset,
        { to, backbone, selection, limit },
      ).finally(() => progress.stop());
      report(options, found, similarText);
    });
};

/** @throws HubError USAGE */
function similarTo(
  dataset: string,
  id: string | undefined,
  file: string | undefined,
  maxPixels: number,
): SimilarTo {
  if (id !== undefined && file === undefined) return { id };
  if (file !== undefined && id === undefined) return { file, maxPixels };
  throw new HubError('USAGE', 'Similar to what? It takes the id of an image, or a file.', {
    hint: `imagehub similar ${dataset} ID    imagehub similar ${dataset} --file photo.jpg`,
  });
}
