import { spawn } from 'node:child_process'
import { interleave, markdownTable, middle, seconds } from '../rounds.js'
import { type Bench, type Sample, bookPrompts } from './job.js'

/** Full attention beside processes that never rest: what the worst round costs, against the median of the quiet ones. */
export async function measureDisturbed(
  bench: Bench,
  sizes: readonly number[],
): Promise<{ table: string; data: object }> {
  const cases = { quiet: 0, 'one busy process': 1, 'a busy process for each thread': bench.threads }
  const names = Object.keys(cases) as (keyof typeof cases)[]
  const rows = [['prompt', 'TTFT quiet', ...names.slice(1).flatMap((name) => [`worst, ${name}`, 'against quiet'])]]
  const data: Record<string, unknown> = {}
  for (const [size, prompt] of await bookPrompts(bench, sizes)) {
    // oxlint-disable-next-line no-await-in-loop
    const results = await interleave(bench.rounds, names, (name) =>
      beside(cases[name], () => bench.measure(prompt, { kind: 'full' })),
    )
    data[size] = results
    const quiet = middle(results.quiet, (sample) => sample.ttftMs)
    const worst = names.slice(1).flatMap((name) => {
      const most = Math.max(...results[name].map(({ ttftMs }) => ttftMs))
      return [seconds(most), `${(most / quiet).toFixed(2)}x`]
    })
    rows.push([String(results.quiet[0]!.usage.promptTokens), seconds(quiet), ...worst])
  }
  return { table: markdownTable(rows), data }
}

/** Runs `work` while so many other processes compute. */
async function beside(busy: number, work: () => Promise<Sample>): Promise<Sample> {
  const others = Array.from({ length: busy }, () => spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }))
  try {
    return await work()
  } finally {
    others.forEach((other) => other.kill('SIGKILL'))
  }
}
