/**
 * The latest hybrid time (microseconds × 4096 + a counter) that any server told us. Sent along with what follows, so that
 * this client's later requests are later for every server, whatever their clocks say.
 */
export class LatestTimestamp {
  #latest: bigint | undefined;

  get latest(): bigint | undefined {
    return this.#latest;
  }

  observe(timestamp: bigint | undefined): void {
    if (timestamp === undefined) return;
    if (this.#latest === undefined || timestamp > this.#latest) this.#latest = timestamp;
  }
}
