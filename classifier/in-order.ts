/**
 * Results in the order of what they are of, of which only so many are under way at a time.
 * @param begin called for the next one when there is room; what it throws, or rejects with, ends the whole
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T>,
  atOnce: number,
  begin: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    if (running.length >= atOnce) yield await running.shift()!;
    const result = begin(item);
    // Heard of when it is its turn.
    result.catch(() => undefined);
    running.push(result);
  }
  for (const result of running) yield await result;
}
