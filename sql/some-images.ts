/** Some of a batch's images, and what is to be said of the first of them. */
export interface SomeImages {
  count: number;
  text: string;
}

/** @returns both together, with the text of the earlier ones; null: there are none */
export const addSome = (sum: SomeImages | null, more: SomeImages | null): SomeImages | null =>
  sum && more ? { text: sum.text, count: sum.count + more.count } : (sum ?? more);

export const addOne = (sum: SomeImages | null, text: string): SomeImages | null =>
  addSome(sum, { text, count: 1 });
