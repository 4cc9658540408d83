import { dirname, resolve } from 'node:path';
import { HubError } from '../../errors.ts';
import type { ImageSource } from './image.ts';

/**
 * Refuses sources that hold images of the same ids: of each such image the later one would replace the earlier in silence.
 * Of sources whose ids are only known when they are read (tars, lists) nothing is said.
 * @param dataset for the hint
 * @throws HubError USAGE, with one of the ids and what to do
 */
export function refuseSharedIds(sources: readonly ImageSource[], dataset: string): void {
  const known = sources.filter((source) => source.ids !== undefined);
  if (known.length < 2) return;
  const sourceOf = new Map<string, ImageSource>();
  for (const source of known) {
    let shared = 0;
    let first: { id: string; earlier: ImageSource } | null = null;
    for (const id of source.ids!()) {
      const earlier = sourceOf.get(id);
      sourceOf.set(id, source);
      if (!earlier || earlier === source) continue;
      shared++;
      first ??= { id, earlier };
    }
    if (first) throw sharedIds(dataset, first, source, shared);
  }
}

function sharedIds(
  dataset: string,
  { id, earlier }: { id: string; earlier: ImageSource },
  later: ImageSource,
  count: number,
): HubError {
  const what = `${count.toLocaleString('en')} of the ids in ${later.name} ${count === 1 ? 'is' : 'are'} also in ${earlier.name}`;
  const parents = [earlier, later].map(({ name }) => dirname(resolve(name)));
  const together =
    parents[0] === parents[1]
      ? `Send the folder above them, so that ids begin with their names: imagehub send ${dataset} ${parents[0]}. `
      : '';
  return new HubError('USAGE', `${what}, such as ${id}: the later images would replace the earlier ones.`, {
    hint: `${together}If they are to be replaced, send ${earlier.name} and ${later.name} one after the other.`,
  });
}
