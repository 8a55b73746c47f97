import type { LoadProgress, PrefillProgress } from '../../types.js'
import { painter } from './paint.js'
import { bytes, count } from './units.js'

const everyMs = 80

/** One line of progress on stderr, rewritten in place; silent where stderr is not a terminal. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  #shown = false
  #last = 0
  #label = ''
  #since = 0
  #from = 0

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
  }

  readonly onLoad = (p: LoadProgress): void => {
    if (p.phase === 'weights') return this.show('loading', p.loadedBytes, p.totalBytes, bytes)
    this.show(`fetching ${p.file}`, p.loadedBytes, p.totalBytes, bytes, true)
  }

  readonly onPrefill = (p: PrefillProgress): void => {
    this.show(p.stage === 'filter' ? 'skimming' : 'reading', p.done, p.total, (n) => `${count(n)} tokens`)
  }

  show(label: string, done: number, total: number | null, unit: (n: number) => string, rate = false): void {
    if (!this.#stream.isTTY) return
    const now = performance.now()
    if (label !== this.#label) {
      this.#label = label
      this.#since = now
      this.#from = done
    } else if (now - this.#last < everyMs && done !== total) return
    this.#last = now
    const speed = rate && now > this.#since ? `  ${unit(((done - this.#from) * 1000) / (now - this.#since))}/s` : ''
    const amount = total === null ? unit(done) : `${unit(done)} of ${unit(total)}`
    const line = `${label} ${total === null ? '' : bar(total === 0 ? 1 : done / total)}${amount}${speed}`
    // Longer lines would wrap, and a wrapped line cannot be rewritten.
    this.#stream.write(`\r\x1b[2K${painter(this.#stream)('dim', line.slice(0, (this.#stream.columns ?? 80) - 1))}`)
    this.#shown = true
  }

  clear(): void {
    if (this.#shown) this.#stream.write('\r\x1b[2K')
    this.#shown = false
  }
}

function bar(share: number, width = 24): string {
  const full = Math.round(Math.min(Math.max(share, 0), 1) * width)
  return `▕${'█'.repeat(full)}${'░'.repeat(width - full)}▏ ${(100 * share).toFixed(0).padStart(3)} %  `
}
