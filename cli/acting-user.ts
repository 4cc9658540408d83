import { userInfo } from 'node:os';
import { HubError } from '../errors.ts';

/** The option that names who acts, for `command.option`. */
export const BY_OPTION = [
  '--by <name>',
  'who does this, for the record (default: the user of this computer)',
] as const;

/** Who acts: as asked for, else the user of this computer. @throws HubError USAGE */
export function actingUser(by: string | undefined): string {
  const name = by ?? userInfo().username;
  if (name.trim() === '' || name.includes('\0')) throw new HubError('USAGE', '--by wants a name.');
  return name;
}

/** Parses an option that may be given again. */
export const collect = (value: string, earlier: string[] = []): string[] => [...earlier, value];
