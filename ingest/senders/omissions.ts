import type { Omissions } from './image.ts';

export interface OmissionCount {
  reason: string;
  count: number;
  /** The first few. */
  names: string[];
}

export interface OmissionReport {
  skipped: OmissionCount[];
  refused: OmissionCount[];
}

const NAMES_KEPT = 10;

/** Counts what is left out, by reason; `say` is told of everything refused, for as long as it stays readable. */
export function collectOmissions(
  say: (text: string) => void,
): Omissions & { report(): OmissionReport; refusals(): number } {
  const skipped = new Map<string, OmissionCount>();
  const refused = new Map<string, OmissionCount>();
  const count = (into: Map<string, OmissionCount>, name: string, reason: string): OmissionCount => {
    const entry = into.get(reason) ?? { reason, count: 0, names: [] };
    into.set(reason, entry);
    entry.count++;
    if (entry.names.length < NAMES_KEPT) entry.names.push(name);
    return entry;
  };
  return {
    skip: (name, reason) => void count(skipped, name, reason),
    refuse(name, reason) {
      const { count: soFar } = count(refused, name, reason);
      if (soFar <= NAMES_KEPT) say(`Not sent: ${name}: ${reason}`);
    },
    report: () => ({ skipped: [...skipped.values()], refused: [...refused.values()] }),
    refusals: () => [...refused.values()].reduce((sum, entry) => sum + entry.count, 0),
  };
}
