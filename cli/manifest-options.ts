import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import type { Missing } from '../classifier/register/draft.ts';
import { errorText, HubError } from '../errors.ts';
import { errorCode } from '../sql/database.ts';
import { note, report } from './output.ts';

/** The options that say what goes into a network, see `ManifestOptions`. */
export function addInputOptions(command: Command): Command {
  return command
    .option(
      '--scale <how>',
      'how pixels become numbers: unit (x / 255), none (0…255), binarise, mean-std (on the 0…1 scale)',
    )
    .option('--threshold <n>', 'with --scale binarise: pixels greater than this are 1 (default: 30)')
    .option('--mean <numbers>', 'with --scale mean-std: one per channel, e.g. 0.485,0.456,0.406')
    .option('--std <numbers>', 'with --scale mean-std: one per channel')
    .option('--colour <order>', 'grey, rgb or bgr')
    .option('--invert', 'the model was trained on negatives: 255 − x before scaling')
    .option('--background <grey>', 'behind transparent pixels, 0…255 (default: the dataset’s)')
    .option('--size <size>', 'what images are resized to, e.g. 28x28')
    .option(
      '--fit <how>',
      'stretch (both sides by themselves), crop (the middle) or pad (a border); default: stretch',
    )
    .option(
      '--shorter-side <pixels>',
      'with --fit crop: resized to this first, e.g. 256 for a --size of 224x224',
    )
    .option('--padding <grey>', 'with --fit pad: the border, 0…255 (default: 0)')
    .option('--filter <filter>', 'bilinear, bicubic, lanczos or area (default: bilinear)')
    .option('--no-antialias', 'shrunk without antialiasing, as OpenCV does')
    .option('--layout <layout>', 'NCHW, NHWC, NHW or flat')
    .option('--input <name>', 'the model’s input');
}

/**
 * Reads the manifest beside a network's file, or the one that is named.
 * @returns undefined: none is named, and there is none
 * @throws HubError BAD_FILE
 */
export async function readManifest(file: string, named: string | undefined): Promise<unknown> {
  const path = named ?? file.replace(/(\.onnx)?$/i, '.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (named === undefined && errorCode(cause) === 'ENOENT') return undefined;
    throw new HubError('BAD_FILE', `${path} cannot be read: ${errorText(cause)}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HubError('BAD_FILE', `${path} is not JSON: ${errorText(cause)}`, {
      cause,
      hint: 'The manifest is described in docs/models.md; --print-manifest writes a draft.',
    });
  }
}

/** `--print-manifest`. @param also lines between what is not known and what was assumed */
export function printDraft(
  { draft, missing, notes }: { draft: object; missing: Missing[]; notes: string[] },
  also: string[] = [],
): void {
  report({ json: true }, draft, () => '');
  for (const { field, why, option } of missing) note(`not known, ${field}: ${why}; ${option}`);
  for (const line of also) note(line);
  for (const line of notes) note(`assumed: ${line}`);
}
