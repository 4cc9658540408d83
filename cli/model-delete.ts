import type { Command } from 'commander';
import { deletable, type DeletedModel, deleteModel } from '../classifier/delete-model.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext } from './command.ts';
import { confirm } from './confirm.ts';
import { openHub } from './hub.ts';
import { note, report } from './output.ts';

/** `imagehub model delete` */
export function addModelDeleteCommand(command: Command): void {
  command
    .command('delete <dataset> <model>')
    .description(
      'delete a model’s bytes and stored predictions; who made it, when and with what result stays on record',
    )
    .option('--yes', 'do not ask')
    .option(...BY_OPTION)
    .option('--json', 'one JSON document on standard output')
    .action(
      async (dataset: string, named: string, options: { yes?: boolean; by?: string; json?: boolean }) => {
        const by = actingUser(options.by);
        await using hub = await openHub(commandContext());
        const { model, uses } = await deletable(hub.pool, dataset, named);
        const warnings = [
          ...(model.previous ? [`imagehub rollback ${dataset} will have nothing to go back to`] : []),
          ...uses.map((use) => `${use} is working with it and will fail`),
        ];
        for (const warning of warnings) note(`Mind that ${warning}.`);
        await confirm(`Delete model ${model.model} of ${dataset} (${model.source})?`, options);
        report(options, await deleteModel(hub.pool, dataset, model.model, by), deletedText);
      },
    );
}

function deletedText({ model, dataset, bytes }: DeletedModel): string {
  return `Model ${model} of ${dataset} is deleted (${bytes} bytes of ONNX, and its stored predictions); imagehub model show still tells what it was.`;
}
