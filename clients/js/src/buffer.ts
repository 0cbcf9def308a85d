/**
 * Buffer of publications for a `for await` loop.
 *
 * @module
 */

type Result<T> = IteratorResult<T>;

/** A bounded queue with one reader. When it is full, the oldest item is dropped. */
export class Buffer<T> implements AsyncIterableIterator<T> {
  readonly #limit: number;
  readonly #count: () => void;
  #dropped: (() => void) | undefined;
  #left: (() => void) | undefined;
  #items: T[] = [];
  #readers: ((result: Result<T> | Promise<Result<T>>) => void)[] = [];
  #end: { error?: Error } | null = null;

  /**
   * @param limit - items, at least one
   * @param count - called for every item that is dropped
   */
  constructor(limit: number, count: () => void) {
    this.#limit = Math.max(1, limit);
    this.#count = count;
  }

  /**
   * A reader begins.
   *
   * @param dropped - called for every item that is dropped from now on
   * @param left - called when the reader leaves the loop
   */
  attend(dropped: () => void, left: () => void): void {
    this.#dropped = dropped;
    this.#left = left;
  }

  push(value: T): void {
    const reader = this.#readers.shift();
    if (reader) return reader({ value, done: false });
    this.#items.push(value);
    if (this.#items.length <= this.#limit) return;
    this.#items.shift();
    this.#count();
    this.#dropped?.();
  }

  /** Ends the loop after the buffered items, with or without an error. */
  end(error?: Error): void {
    if (this.#end) return;
    this.#end = { error };
    // Readers wait only if the queue is empty.
    for (const reader of this.#readers.splice(0)) reader(this.#last());
  }

  next(): Promise<Result<T>> {
    return new Promise((resolve) => {
      if (this.#items.length) resolve({ value: this.#items.shift() as T, done: false });
      else if (this.#end) resolve(this.#last());
      else this.#readers.push(resolve);
    });
  }

  return(): Promise<Result<T>> {
    this.#items = [];
    this.end();
    this.#end = {};
    this.#left?.();
    return this.#last();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #last(): Promise<Result<T>> {
    const error = this.#end?.error;
    this.#end = {}; // Thrown once; after that the loop is over.
    if (error) throw error;
    return { value: undefined, done: true };
  }
}
