import type { Condition, Where } from '../../../kudu/encoding/predicates.ts';

type Plain = number | string | boolean | bigint | null;

/** What a condition means, said in JavaScript: the judge of predicates and of pruning. Text is compared by UTF-8. */
export function matches(row: Readonly<Record<string, unknown>>, where: Where): boolean {
  return Object.entries(where).every(([name, given]) => {
    const value = row[name] as Plain;
    const condition: Condition =
      typeof given === 'object' && given !== null ? (given as Condition) : { eq: given };
    const compared = (other: unknown, holds: (order: number) => boolean) =>
      other === undefined || (value !== null && holds(order(value, other as Plain)));
    return (
      (condition.eq === null ? value === null : compared(condition.eq, (by) => by === 0)) &&
      compared(condition.gt, (by) => by > 0) &&
      compared(condition.gte, (by) => by >= 0) &&
      compared(condition.lt, (by) => by < 0) &&
      compared(condition.lte, (by) => by <= 0) &&
      (condition.in === undefined ||
        condition.in.some((one) => value !== null && order(value, one as Plain) === 0)) &&
      (condition.isNull === undefined || (value === null) === condition.isNull)
    );
  });
}

function order(a: NonNullable<Plain>, b: Plain): number {
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  return a < b! ? -1 : a > b! ? 1 : 0;
}
