/** A value that holds while a function runs and what it calls, and is what it was before once the function ends. */
export class Scoped<T> {
  constructor(private value: T) {}

  get current(): T {
    return this.value
  }

  /** Runs `body`, which must be synchronous, under another value. */
  run<R>(value: T, body: () => R): R {
    const before = this.value
    this.value = value
    try {
      return body()
    } finally {
      this.value = before
    }
  }
}
