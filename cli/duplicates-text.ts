import { contradicts, type DuplicateGroup, type DuplicatesReport } from '../duplicates/find-duplicates.ts';
import type { LabelResult } from '../duplicates/act.ts';
import type { DeleteResult } from '../sql/delete-duplicates.ts';
import type { IgnoredGroup } from '../sql/ignored-duplicates.ts';
import { count, table } from './report.ts';

/** What was done with the groups. */
export type Done = { by: string } & (
  | ({ action: 'label' } & LabelResult)
  | ({ action: 'delete'; leftOut: number } & DeleteResult)
  | { action: 'ignore'; groups: number }
);

type ShownMember = { id: string; stays: boolean };
interface Shown extends Omit<DuplicatesReport, 'groups'> {
  groups: (Pick<DuplicateGroup, 'group' | 'kind' | 'distance' | 'classes'> & { members: ShownMember[] })[];
  done: Done | null;
}

/** More do not fit a line. */
const IDS_SHOWN = 3;

/** Of all images; more are hardly ever copies of each other. */
const MANY = 0.1;

/**
 * Digits, pages and products before one background are all alike for a hash of 64 bits: what to do, where it looks as if that
 * were so.
 */
export function warning({ images, nearGroups, duplicates }: DuplicatesReport | Shown): string | null {
  if (nearGroups === 0 || duplicates <= MANY * images) return null;
  return 'So many near duplicates are rare: pictures of one kind, such as digits or pages, can have near hashes without being copies. Look at some before you act; --exact compares bytes, a smaller --distance is stricter.';
}

/** @param limit groups to show */
export function duplicatesText(found: Shown, limit: number): string {
  return [
    ...summary(found),
    ...groupLines(found, limit),
    ...(found.done ? ['', ...doneLines(found, found.done)] : []),
  ].join('\n');
}

function summary(found: Shown): string[] {
  const { dataset, distance, across, images, exactGroups, nearGroups, duplicates } = found;
  const how = distance === null ? 'with the same bytes' : `within ${distance} of 64 bits`;
  const between = across === null ? '' : `, between those with ${across} and the others`;
  const counts: [number, string][] = [
    [found.contradictions, 'groups have known labels that contradict each other'],
    [
      found.plain,
      'images are too plain for the perceptual hash (fewer than 16 of its bits are set): only their bytes were compared',
    ],
    [
      found.beside,
      'images are near to one of a group, but farther from the one that stays than that: they are in no group',
    ],
    [found.withoutHash, 'images have no hashes: nothing is said about them'],
  ];
  return [
    `${count(exactGroups + nearGroups)} groups (${count(exactGroups)} exact, ${count(nearGroups)} near) among ${count(images)} images of ${dataset}, ${how}${between}: ${count(duplicates)} images beside those that stay.`,
    ...counts.filter(([number]) => number > 0).map(([number, what]) => `  ${count(number)} ${what}`),
    ...[warning(found)].filter((line) => line !== null),
  ];
}

function groupLines({ groups, distance }: Shown, limit: number): string[] {
  const shown = groups.slice(0, limit);
  if (shown.length === 0) return [];
  const rows = shown.map((group) => [
    group.group,
    idsText(group.members),
    group.classes.map(({ class: name, images }) => `${name}: ${images}`).join(', ') +
      (contradicts(group) ? ' (!)' : ''),
    group.kind,
    count(group.members.length + 1),
    ...(distance === null ? [] : [String(group.distance)]),
  ]);
  const head = [
    'stays',
    'duplicates',
    'known labels',
    'kind',
    'images',
    ...(distance === null ? [] : ['distance']),
  ];
  const more = groups.length - shown.length;
  return [
    '',
    table(head, rows, 4),
    ...(more > 0 ? [`… and ${count(more)} more groups (--limit, --json)`] : []),
  ];
}

/** Those that stay too, on the side of the first, are left to --json. */
function idsText(members: ShownMember[]): string {
  const others = members.filter(({ stays }) => !stays).map(({ id }) => id);
  const more = others.length - IDS_SHOWN;
  return others.slice(0, IDS_SHOWN).join('\n') + (more > 0 ? `\n… and ${count(more)} more` : '');
}

function doneLines({ dataset }: Shown, done: Done): string[] {
  if (done.action === 'ignore') {
    return [
      `${count(done.groups)} groups are not found again. Take it back: imagehub duplicates ${dataset} --unignore --group …`,
    ];
  }
  const [first, counts]: [string, [number, string][]] =
    done.action === 'label'
      ? [
          `${count(done.changed)} images have the label of the others in their group.`,
          [
            [done.contradictions, 'groups were left alone: their labels contradict each other'],
            [done.changedMeanwhile, 'images were left alone: changed after they were found'],
            [done.missing.length, 'images were deleted after they were found'],
          ],
        ]
      : [
          `${count(done.deleted)} images were deleted.`,
          [
            [
              done.leftOut,
              'groups were left alone: their labels contradict each other (relabel them, or name them by --group)',
            ],
            [done.changedMeanwhile, 'images were left alone: changed after they were found'],
            [
              done.keptChanged,
              'images were left alone: what should have stayed for them was changed or deleted',
            ],
            [done.missing, 'images had been deleted by somebody else'],
          ],
        ];
  const undo =
    done.action === 'label' && done.operation !== null
      ? [
          `Operation ${done.operation}, by ${done.by}. Take it back: imagehub relabel undo ${dataset} ${done.operation}`,
        ]
      : [];
  return [
    first,
    ...counts.filter(([number]) => number > 0).map(([number, what]) => `  ${count(number)} ${what}`),
    ...undo,
  ];
}

export function ignoredText({ dataset, ignored }: { dataset: string; ignored: IgnoredGroup[] }): string {
  if (ignored.length === 0) return `No duplicates of ${dataset} were ignored.`;
  const rows = ignored.map(({ group, ids, by, at }) => [
    group,
    ids.slice(0, IDS_SHOWN).join('\n') +
      (ids.length > IDS_SHOWN ? `\n… and ${count(ids.length - IDS_SHOWN)} more` : ''),
    by,
    at.toISOString().slice(0, 19),
  ]);
  return table(['group', 'images', 'by', 'at'], rows, 4);
}
