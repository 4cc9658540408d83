import { copySlotPrefix, createSlot, dropSlot, endFollower, findSlots, type Slot } from '../indexer/slot.ts';
import type { Logger } from '../log.ts';
import type { Pool, PoolClient } from '../sql/database.ts';
import { type KuduCopy, startOver } from './state.ts';

type Numbered = Pick<KuduCopy, 'copyNo'>;

/** The copy's replication slot: it has every change since before the first row was copied. */
export const copySlotName = async (pool: Pool, { copyNo }: Numbered): Promise<string> =>
  `${await copySlotPrefix(pool)}${copyNo}`;

/** The slots of all copies by their numbers. */
export async function copySlots(pool: Pool): Promise<Map<number, Slot>> {
  const prefix = await copySlotPrefix(pool);
  const slots = await findSlots(pool, prefix);
  return new Map(slots.map((slot) => [Number(slot.name.slice(prefix.length)), slot]));
}

/**
 * Makes the copy's slot if there is none that still has its log; then the rows have to be copied (again), which is written
 * down before there is a slot: a crash in between loses nothing. Ends a follower: it holds no lock any more.
 * @param session whose lock lets us write
 */
export async function ensureCopySlot(
  pool: Pool,
  session: PoolClient,
  copy: KuduCopy,
  log: Logger,
  signal: AbortSignal,
): Promise<string> {
  const name = await copySlotName(pool, copy);
  const slot = (await findSlots(pool, name)).find((found) => found.name === name);
  if (slot && slot.walStatus !== 'lost') {
    if (slot.active) await endFollower(pool, name);
    return name;
  }
  const reason = slot
    ? 'the change feed was away for so long that Postgres removed its log'
    : 'there was no change feed for it';
  await startOver(session, copy.copyNo, reason);
  if (slot) await dropSlot(pool, name);
  await createSlot(pool, session, name, log, signal);
  return name;
}

export const dropCopySlot = async (pool: Pool, copy: Numbered): Promise<void> =>
  dropSlot(pool, await copySlotName(pool, copy));
