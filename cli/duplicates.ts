import { deleteFromGroups, doomedImages, groupsNamed, ignoreAll, labelGroups } from '../duplicates/act.ts';
import {
  contradicts,
  DEFAULT_DISTANCE,
  type DuplicateGroup,
  type DuplicatesReport,
  findDuplicates,
} from '../duplicates/find-duplicates.ts';
import { MOST_DISTANCE } from '../duplicates/near-hashes.ts';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import { listIgnored, unignoreGroups } from '../sql/ignored-duplicates.ts';
import { actingUser, collect } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { duplicatesText, type Done, ignoredText, warning } from './duplicates-text.ts';
import { type Hub, openHub } from './hub.ts';
import { wholeNumber } from './numbers.ts';
import { report } from './output.ts';
import { createProgress } from './progress.ts';
import { count } from './report.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface DuplicatesCommandOptions extends SelectionOptions {
  distance?: string;
  exact?: boolean;
  across?: string;
  group?: string[];
  label?: boolean;
  delete?: boolean;
  ignore?: boolean;
  unignore?: boolean;
  ignored?: boolean;
  by?: string;
  yes?: boolean;
  limit: string;
  json?: boolean;
}

const SHOWN = '20';

const HELP = `
A group is named by the image that stays: the one whose label is a person's, else the one with the most pixels, else the
largest in bytes, else the one ingested first. All others are within the distance of it, so none is deleted that is
farther from what stays. Those with the same bytes are exact, the others near.

--across "id like 'test/%'" finds what test images have in common with all others: the images that the condition holds for
stay, and only pairs with one image on each side are shown.

Acting is for all groups that are found, or for those named by --group:
  --label    unlabelled images get the label of the others in their group, where those agree; imagehub relabel undo takes
             it back
  --delete   only the one that stays is kept; asks. Groups whose labels contradict each other must be named by --group
  --ignore   they are no duplicates of each other, and are not found again; --ignored lists those, --unignore takes it back
What was changed since it was found is left alone.`;

export const duplicatesCommand: RegisterCommand = (program) => {
  const command = program
    .command('duplicates <dataset>')
    .description('images that show the same picture; label, delete or ignore them')
    .option(
      '--distance <bits>',
      `in how many of 64 bits perceptual hashes may differ, 0 to ${MOST_DISTANCE} (default: ${DEFAULT_DISTANCE})`,
    )
    .option('--exact', 'only images with the same bytes');
  addSelectionOptions(command)
    .option('--across <sql>', 'only duplicates between images that this condition holds for, and others')
    .option('--group <id>', 'only this group; may be given again', collect)
    .option('--label', 'give unlabelled images the label of the others in their group')
    .option('--delete', 'delete all images of a group but one')
    .option('--ignore', 'they are no duplicates: do not find them again')
    .option('--unignore', 'take back that groups were ignored: all, or those that --group names')
    .option('--ignored', 'list the groups that were ignored')
    .option('--by <name>', 'who says so (default: the user of this computer)')
    .option('--yes', 'do not ask')
    .option('--limit <n>', 'how many groups to show', SHOWN)
    .option('--json', 'one JSON document with all groups on standard output')
    .addHelpText('after', HELP)
    .action(async (name: string, options: DuplicatesCommandOptions) => {
      const limit = wholeNumber('--limit', options.limit, 0);
      const act = actionOf(options);
      const search = searchOf(options);
      await using hub = await openHub(commandContext());
      const { name: dataset } = await getDataset(hub.pool, name);
      if (act === 'ignored') {
        report(options, { dataset, ignored: await listIgnored(hub.pool, dataset) }, ignoredText);
      } else if (act === 'unignore') {
        report(options, await unignore(hub, dataset, options.group ?? null), unignoredText);
      } else {
        await searchAndAct(hub, dataset, search, act, limit, options);
      }
    });
};

const ACTIONS = ['label', 'delete', 'ignore', 'unignore', 'ignored'] as const;
type Action = (typeof ACTIONS)[number];

/** @throws HubError USAGE */
function actionOf(options: DuplicatesCommandOptions): Action | null {
  const asked = ACTIONS.filter((action) => options[action]);
  if (asked.length < 2) return asked[0] ?? null;
  throw new HubError(
    'USAGE',
    `Do one thing at a time: ${asked.map((action) => `--${action}`).join(' or ')}.`,
    {
      hint: 'First --label, so that the image that stays has the label of those that go; then --delete.',
    },
  );
}

/** @throws HubError USAGE */
function searchOf(options: DuplicatesCommandOptions) {
  if (options.exact && options.distance !== undefined) {
    throw new HubError('USAGE', 'With --exact bytes are compared: leave --distance out.');
  }
  const distance = options.exact
    ? null
    : options.distance === undefined
      ? DEFAULT_DISTANCE
      : wholeNumber('--distance', options.distance, 0);
  return { distance, selection: parseSelection(options), across: options.across ?? null };
}

async function searchAndAct(
  hub: Hub,
  dataset: string,
  search: ReturnType<typeof searchOf>,
  act: Action | null,
  limit: number,
  options: DuplicatesCommandOptions,
): Promise<void> {
  const signal = interruptSignal();
  const found = await find(hub, dataset, search, signal);
  const groups = options.group ? groupsNamed(found, options.group) : found.groups;
  const done = act === null ? null : await carryOut(hub, found, groups, act, signal, options);
  const shown = { ...found, groups: groups.map(withoutState), done };
  report(options, shown, (all) => duplicatesText(all, limit));
}

async function find(hub: Hub, dataset: string, search: ReturnType<typeof searchOf>, signal: AbortSignal) {
  let progress = createProgress({ label: 'reading hashes' });
  let comparing = false;
  try {
    return await findDuplicates(
      {
        pool: hub.pool,
        stores: hub.stores,
        signal,
        onRead: (images) => progress.update(images),
        onCompared: (done, images) => {
          if (!comparing) {
            progress.stop();
            progress = createProgress({ label: 'comparing', total: images });
            comparing = true;
          }
          progress.update(done);
        },
      },
      dataset,
      search,
    );
  } finally {
    progress.stop();
  }
}

async function carryOut(
  hub: Hub,
  found: DuplicatesReport,
  groups: DuplicateGroup[],
  act: Action,
  signal: AbortSignal,
  options: DuplicatesCommandOptions,
): Promise<Done> {
  const { dataset } = found;
  const by = actingUser(options.by);
  if (act === 'ignore') {
    await ignoreAll({ pool: hub.pool, by }, found, groups);
    return { action: 'ignore', by, groups: groups.length };
  }
  // What contradicts itself is looked at by a person before half of it goes.
  const chosen = act === 'delete' && !options.group ? groups.filter((group) => !contradicts(group)) : groups;
  if (act === 'delete' && chosen.length > 0) await confirm(question(found, chosen), options);
  const progress = createProgress({ label: act === 'delete' ? 'deleting' : 'labelling', estimated: true });
  const context = {
    pool: hub.pool,
    stores: hub.stores,
    by,
    signal,
    onProgress: (done: number, total: number) => progress.update(done, '', total),
  };
  try {
    if (act === 'label') return { action: 'label', by, ...(await labelGroups(context, dataset, chosen)) };
    const leftOut = groups.length - chosen.length;
    return { action: 'delete', by, leftOut, ...(await deleteFromGroups(context, dataset, chosen)) };
  } finally {
    progress.stop();
  }
}

function question(found: DuplicatesReport, groups: DuplicateGroup[]): string {
  const doomed = doomedImages(groups);
  const look = warning(found);
  const lost = doomed.filter(({ image, group }) => image.class !== null && group.kept.class === null).length;
  const labels =
    lost === 0
      ? ''
      : ` ${count(lost)} of them have a label that the one that stays has not (--label gives it first).`;
  return `${count(doomed.length)} images of ${found.dataset} are deleted, one of each of ${count(groups.length)} groups stays.${labels}${look === null ? '' : ` ${look}`} Go on?`;
}

async function unignore(hub: Hub, dataset: string, names: string[] | null) {
  const { groups, unknown } = await unignoreGroups(hub.pool, dataset, names);
  return { dataset, unignored: groups, unknown };
}

function unignoredText({ dataset, unignored, unknown }: Awaited<ReturnType<typeof unignore>>): string {
  const rest =
    unknown.length > 0 ? `\nNo ignored group of ${dataset} is named, or holds: ${unknown.join(', ')}` : '';
  return `${count(unignored)} groups of ${dataset} are looked at again.${rest}`;
}

/** What was found, for people: not what it is compared with when it is acted upon. */
function withoutState({ kept, members, ...group }: DuplicateGroup) {
  const shown = <T extends { state: number }>({ state: _, ...image }: T) => image;
  return { ...group, kept: shown(kept), members: members.map(shown) };
}
