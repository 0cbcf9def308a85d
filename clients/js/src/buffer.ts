/**
 * What waits for a `for await` loop.
 *
 * @module
 */

interface Reader<T> {
  resolve(result: IteratorResult<T>): void;
  reject(error: unknown): void;
}

/** A bounded queue with one reader. When it is full, the oldest goes and `dropped` hears of it. */
export class Buffer<T> implements AsyncIterableIterator<T> {
  readonly #limit: number;
  readonly #dropped: () => void;
  readonly #left: () => void;
  #items: T[] = [];
  #readers: Reader<T>[] = [];
  #end: { error?: Error } | null = null;

  /**
   * @param limit - items, at least one
   * @param dropped - called for every item that had to go
   * @param left - called when the reader leaves the loop
   */
  constructor(limit: number, dropped: () => void, left: () => void) {
    this.#limit = Math.max(1, limit);
    this.#dropped = dropped;
    this.#left = left;
  }

  push(value: T): void {
    const reader = this.#readers.shift();
    if (reader) return reader.resolve({ value, done: false });
    this.#items.push(value);
    if (this.#items.length > this.#limit) {
      this.#items.shift();
      this.#dropped();
    }
  }

  /** Ends the loop after what is waiting, with an error or without. */
  end(error?: Error): void {
    if (this.#end) return;
    this.#end = { error };
    // Whoever reads already finds the queue empty.
    for (const reader of this.#readers.splice(0)) this.#finish(reader);
  }

  next(): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      const reader = { resolve, reject };
      if (this.#items.length) resolve({ value: this.#items.shift() as T, done: false });
      else if (this.#end) this.#finish(reader);
      else this.#readers.push(reader);
    });
  }

  async return(): Promise<IteratorResult<T>> {
    this.#items = [];
    this.end();
    this.#left();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(reader: Reader<T>): void {
    const error = this.#end?.error;
    if (!error) return reader.resolve({ value: undefined, done: true });
    // Said once; after that the loop is over.
    this.#end = {};
    reader.reject(error);
  }
}
