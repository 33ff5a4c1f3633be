// Owns a promise whose end comes from elsewhere. Must not know what is waited for.

/** A promise that resolves when somebody says so; later calls change nothing. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  #resolve: (value: T) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  resolve(value: T): void {
    this.#resolve(value);
  }
}
