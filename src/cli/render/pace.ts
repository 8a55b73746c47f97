/** How long work will still take, from the steps so far. */
export class Pace {
  readonly #now: () => number
  #begun: { at: number; done: number } | undefined

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** `, about 12 min left`; nothing before the first step is done. */
  left(done: number, total: number): string {
    this.#begun ??= { at: this.#now(), done }
    const steps = done - this.#begun.done
    if (steps <= 0 || done >= total) return ''
    const seconds = ((this.#now() - this.#begun.at) / steps / 1000) * (total - done)
    return `, about ${seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`} left`
  }
}
