import { setShadow, type ShadowChange, showShadow, unsetShadow } from '../classifier/shadow.ts';
import { HubError } from '../errors.ts';
import type { ShadowState } from '../sql/shadow.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';

interface Options {
  off?: boolean;
  by?: string;
  json?: boolean;
}

export const shadowCommand: RegisterCommand = (program) => {
  program
    .command('shadow <dataset> [model]')
    .description(
      'let a model predict every new image beside the live one, stored apart; without a model: show what it has said so far',
    )
    .option('--off', 'no shadow any more; its predictions stay')
    .option(...BY_OPTION)
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, model: string | undefined, options: Options) => {
      if (options.off && model !== undefined) {
        throw new HubError('USAGE', 'Name a model or --off, not both.');
      }
      const by = actingUser(options.by);
      await using hub = await openHub(commandContext());
      if (options.off) report(options, await unsetShadow(hub.pool, dataset, by), changeText);
      else if (model !== undefined) {
        report(options, await setShadow(hub.pool, dataset, model, by), changeText);
      } else report(options, await showShadow(hub, dataset), stateText);
    });
};

function changeText({ dataset, model, before, changed }: ShadowChange): string {
  if (model === null) {
    return before === null
      ? `${dataset} had no shadow; nothing was changed.`
      : `${dataset} has no shadow any more. What model ${before} predicted stays: imagehub impact ${dataset} --candidate ${before}`;
  }
  if (!changed) return `Model ${model} is the shadow of ${dataset} already; nothing was changed.`;
  const instead = before === null ? '' : `, instead of model ${before}`;
  return `Model ${model} is the shadow of ${dataset}${instead}: it predicts every new image beside the live model.\nCompare them: imagehub impact ${dataset} --candidate ${model}`;
}

function stateText(state: ShadowState): string {
  const { dataset, model, liveModel, since, predicted, failed, compared, agree, error } = state;
  if (model === null) {
    return `${dataset} has no shadow. Set one with: imagehub shadow ${dataset} MODEL`;
  }
  const lines = [
    `Model ${model} is the shadow of ${dataset}${since ? ` since ${since.toISOString()}` : ''}.`,
    `  predicted  ${predicted} images`,
  ];
  if (compared > 0) {
    const share = ((100 * agree) / compared).toFixed(2);
    lines.push(`  agrees     with live model ${liveModel} on ${agree} of ${compared} (${share} %)`);
  }
  if (failed > 0) lines.push(`  failed     on ${failed} images, e.g.: ${error}`);
  lines.push(`Compare them: imagehub impact ${dataset} --candidate ${model}`);
  return lines.join('\n');
}
