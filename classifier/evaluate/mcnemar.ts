/**
 * McNemar's exact test: the probability that two equally good models differ at least so much, from the images that only
 * the one and only the other got right. Two-sided binomial test of `onlyFirst` in n = onlyFirst + onlySecond with
 * probability 1/2: min(1, 2 · Σ_{i ≤ k} C(n, i) / 2ⁿ), k the smaller of the two; 1 where they never differ.
 * McNemar 1947, Psychometrika 12; the exact form in Dietterich 1998, Neural Computation 10(7).
 */
export function mcnemarExact(onlyFirst: number, onlySecond: number): number {
  const n = onlyFirst + onlySecond;
  const k = Math.min(onlyFirst, onlySecond);
  if (2 * k === n) return 1;
  // The largest term by its logarithm, as 2⁻ⁿ is 0 in floating point beyond n = 1074; the others relative to it.
  let logLargest = -n * Math.LN2;
  for (let i = 1; i <= k; i++) logLargest += Math.log((n - k + i) / i);
  let sum = 1;
  for (let i = k, term = 1; i > 0; i--) {
    term *= i / (n - i + 1);
    sum += term;
  }
  return Math.min(1, 2 * Math.exp(logLargest) * sum);
}
