import { exit, Interruption } from './exit.js'

/** Ctrl-C: the first stops the work in hand and keeps what there is, the second ends the process. */
export class Interrupts {
  interrupted = false
  readonly #abort = new AbortController()
  #soft: (() => void) | undefined

  /** Aborted by the first Ctrl-C, unless `soften` has offered something gentler. */
  readonly signal: AbortSignal = this.#abort.signal

  constructor() {
    process.on('SIGINT', this.#onInterrupt)
  }

  soften(stop: () => void): void {
    this.#soft = stop
  }

  release(): void {
    process.off('SIGINT', this.#onInterrupt)
  }

  readonly #onInterrupt = (): void => {
    if (this.interrupted) process.exit(exit.interrupted)
    this.interrupted = true
    if (this.#soft) this.#soft()
    else this.#abort.abort(new Interruption())
  }
}

export async function interruptible(work: (interrupts: Interrupts) => Promise<void>): Promise<number> {
  const interrupts = new Interrupts()
  try {
    await work(interrupts)
    return interrupts.interrupted ? exit.interrupted : exit.ok
  } finally {
    interrupts.release()
  }
}
