import type { ClientBase } from './database.ts';

/**
 * Says who does what follows in the transaction, for what is recorded of it (`imagehub.acting_user()`).
 * @param by a name; left out: who the session says it is, else the database user
 */
export async function actAs(client: ClientBase, by: string | undefined): Promise<void> {
  if (by === undefined) return;
  await client.query("select set_config('imagehub.acting_user', $1, true)", [by]);
}
