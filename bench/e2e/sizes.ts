import type { Policy } from '../../src/types.js'
import { interleave, markdownTable, megabytes, middle, perSecond, ratio, seconds, showRatio } from '../rounds.js'
import { type Bench, type Sample, bookPrompts } from './job.js'

/** GemFilter with its defaults beside full attention, at several lengths of the prompt. */
export async function compareSizes(bench: Bench, sizes: readonly number[]): Promise<{ table: string; data: object }> {
  const policies: Record<'full' | 'gemfilter', Policy> = { full: { kind: 'full' }, gemfilter: { kind: 'gemfilter' } }
  const head = ['prompt', 'kept', 'TTFT full', 'TTFT gemfilter', 'full / gemfilter', 'decode full', 'decode gemfilter']
  const rows = [[...head, 'gemfilter / full', 'peak memory full', 'gemfilter']]
  const data: Record<string, unknown> = {}
  for (const [size, prompt] of await bookPrompts(bench, sizes)) {
    // oxlint-disable-next-line no-await-in-loop
    const results = await interleave(bench.rounds, ['full', 'gemfilter'], (name) =>
      bench.measure(prompt, policies[name]),
    )
    data[size] = results
    const { full, gemfilter } = results
    const of = (samples: Sample[], pick: (sample: Sample) => number) => samples.map(pick)
    const usage = gemfilter[0]!.usage
    rows.push([
      String(usage.promptTokens),
      String(usage.keptTokens),
      seconds(middle(full, (s) => s.ttftMs)),
      seconds(middle(gemfilter, (s) => s.ttftMs)),
      showRatio(
        ratio(
          of(full, (s) => s.ttftMs),
          of(gemfilter, (s) => s.ttftMs),
        ),
      ),
      perSecond(middle(full, (s) => s.decodePerSecond)),
      perSecond(middle(gemfilter, (s) => s.decodePerSecond)),
      showRatio(
        ratio(
          of(gemfilter, (s) => s.decodePerSecond),
          of(full, (s) => s.decodePerSecond),
        ),
      ),
      megabytes(middle(full, (s) => s.peakBytes)),
      megabytes(middle(gemfilter, (s) => s.peakBytes)),
    ])
  }
  return { table: markdownTable(rows), data }
}
