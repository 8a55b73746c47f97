import { markdownTable, megabytes, middle, perSecond, ratio, seconds, showRatio } from '../rounds.js'
import type { Sample } from './rivals.js'

/** The samples of every engine, by its name. */
export type Results = Readonly<Record<string, readonly Sample[]>>

/** A row for each engine at each size: its medians, and ratios against `rival`. */
export function engines(results: ReadonlyMap<number, Results>, rival: string | undefined): string {
  const head = ['prompt', 'engine', 'TTFT', 'prefill', 'decode', 'peak memory']
  const rows = Array.from(results).flatMap(([size, samples]) =>
    Object.entries(samples).map(([name, mine]) => {
      const ttft = middle(mine, ({ ttftMs }) => ttftMs)
      const peak = middle(mine, ({ peakBytes }) => peakBytes)
      const after = middle(mine, ({ peakBytes, afterLoadingBytes }) => afterLoadingBytes ?? peakBytes)
      return [
        String(size),
        named(name, mine, size),
        seconds(ttft),
        `${Math.round((size * 1000) / ttft)} tokens/s`,
        perSecond(middle(mine, ({ decodePerSecond }) => decodePerSecond)),
        after < peak ? `${megabytes(peak)} (${megabytes(after)} after loading)` : megabytes(peak),
        ...(rival === undefined ? [] : name === rival ? ['', '', ''] : ratios(mine, samples[rival]!)),
      ]
    }),
  )
  return markdownTable([rival === undefined ? head : [...head, ...against(rival)], ...rows])
}

/** Only the ratios of `names` against `rival`, a row for each at each size. */
export function beside(results: ReadonlyMap<number, Results>, names: readonly string[], rival: string): string {
  const rows = Array.from(results).flatMap(([size, samples]) =>
    names.map((name) => {
      const mine = samples[name]!
      return [String(size), named(name, mine, size), ...ratios(mine, samples[rival]!)]
    }),
  )
  return markdownTable([['prompt', 'engine', ...against(rival)], ...rows])
}

const against = (rival: string) => [`TTFT against ${rival}`, 'decode', 'memory']

function named(name: string, samples: readonly Sample[], size: number): string {
  const kept = samples[0]?.usage?.keptTokens
  return kept !== undefined && kept < size ? `${name} (kept ${kept})` : name
}

/** Above 1 is better for `mine` in the first two, below 1 in the third. */
function ratios(mine: readonly Sample[], other: readonly Sample[]): string[] {
  const show = (base: readonly Sample[], over: readonly Sample[], pick: (sample: Sample) => number) =>
    showRatio(ratio(base.map(pick), over.map(pick)))
  return [
    show(other, mine, ({ ttftMs }) => ttftMs),
    show(mine, other, ({ decodePerSecond }) => decodePerSecond),
    show(mine, other, ({ peakBytes }) => peakBytes),
  ]
}
