import type { NumberBin, SideCounts } from '../../sql/drift-rows.ts';
import { type MeasureValue, type NumberSubject, NUMBERS, type Subject } from './measures.ts';
import type { SubjectReport } from './report.ts';
import {
  jensenShannonDistance,
  jensenShannonNoise,
  kolmogorovSmirnovNoise,
  populationStabilityIndex,
  psiNoise,
  shiftNoise,
} from './statistics.ts';

/** Of a variance that is the difference of two sums: it may miss 0 by so much of the mean's square. */
const ROUNDING = 1e-12;

interface Compared {
  measures: MeasureValue[];
  subjects: SubjectReport[];
}

/** Distances between both sides' predictions, and between their numbers; subjects that a side lacks are left out. */
export function compareDistributions(
  classes: readonly string[],
  reference: SideCounts,
  window: SideCounts,
  numbers: readonly NumberBin[],
): Compared {
  const compared: Compared = { measures: [], subjects: [] };
  if (reference.classified > 0 && window.classified > 0) {
    const bins = classes.map((name, index) => ({
      class: name,
      reference: reference.predictions.get(index) ?? 0,
      window: window.predictions.get(index) ?? 0,
    }));
    compared.measures.push(...binMeasures('prediction', bins));
    compared.subjects.push({ subject: 'prediction', bins });
  }
  for (const subject of NUMBERS) {
    const own = numbers.filter((bin) => bin.subject === subject);
    if (own.length > 0) compareNumber(subject, own, compared);
  }
  return compared;
}

/** PSI and Jensen-Shannon distance over bins. */
function binMeasures(
  subject: Subject,
  bins: readonly { reference: number; window: number }[],
): MeasureValue[] {
  const used = bins.filter(({ reference, window }) => reference + window > 0);
  const [n, m] = [used.map(({ reference }) => reference), used.map(({ window }) => window)];
  const sides = [n.reduce((a, b) => a + b, 0), m.reduce((a, b) => a + b, 0)] as const;
  return [
    {
      measure: `${subject}_psi` as MeasureValue['measure'],
      value: populationStabilityIndex(n, m),
      noise: psiNoise(used.length, ...sides),
    },
    {
      measure: `${subject}_js` as MeasureValue['measure'],
      value: jensenShannonDistance(n, m),
      noise: jensenShannonNoise(used.length, ...sides),
    },
  ];
}

function compareNumber(
  subject: NumberSubject,
  bins: readonly NumberBin[],
  { measures, subjects }: Compared,
): void {
  const sum = (of: (bin: NumberBin) => number) => bins.reduce((total, bin) => total + of(bin), 0);
  const [n, m] = [sum(({ reference }) => reference), sum(({ window }) => window)];
  const mean = {
    reference: sum(({ referenceSum }) => referenceSum) / n,
    window: sum(({ windowSum }) => windowSum) / m,
  };
  measures.push(...binMeasures(subject, bins), {
    measure: `${subject}_ks`,
    value: Math.max(...bins.map(({ ks }) => ks)),
    noise: kolmogorovSmirnovNoise(n, m),
  });
  const variance = sum(({ referenceSquares }) => referenceSquares) / n - mean.reference ** 2;
  // A reference without spread knows no deviations; PSI tells of any change from it.
  if (variance > ROUNDING * mean.reference ** 2) {
    measures.push({
      measure: `${subject}_shift`,
      value: (mean.window - mean.reference) / Math.sqrt(variance),
      noise: shiftNoise(n, m),
    });
  }
  subjects.push({
    subject,
    mean,
    bins: bins.map(({ from, to, reference, window }) => ({ from, to, reference, window })),
  });
}
