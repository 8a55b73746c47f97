import type { GenerationResult, Selection, Warning } from '../../types.js'
import { wantsColor } from '../../color.js'
import { painter } from './paint.js'
import { table } from './table.js'
import { bytes, count, duration } from './units.js'

export function selectionText(selection: Selection, stream: NodeJS.WriteStream): string {
  return `${selection.toTerminal({ width: columns(stream), color: wantsColor(stream) })}\n`
}

export function timingsTable(result: GenerationResult, loadMs: number): string {
  const { usage, timings: t, memory } = result
  const readTokens = result.selection ? usage.keptTokens : usage.promptTokens
  const skim: string[][] = result.selection
    ? [
        ['skim', duration(t.filterMs), rate(usage.promptTokens, t.filterMs)],
        ['select', duration(t.selectMs), `kept ${count(usage.keptTokens)} of ${count(usage.promptTokens)} tokens`],
      ]
    : []
  return table(
    [
      ['load', duration(loadMs)],
      ['tokenize', duration(t.tokenizeMs), `${count(usage.promptTokens)} tokens`],
      ...skim,
      ['read', duration(t.prefillMs), rate(readTokens, t.prefillMs)],
      ['first token', duration(t.ttftMs)],
      ['write', duration(t.decodeMs), `${count(usage.newTokens)} tokens, ${t.tokensPerSecond.toFixed(1)} tokens/s`],
      ['peak memory', bytes(memory.peakBytes), `KV cache ${bytes(memory.kvBytes)}`],
    ],
    { indent: '  ' },
  )
}

function rate(tokens: number, ms: number): string {
  return ms > 0 ? `${count(Math.round((tokens * 1000) / ms))} tokens/s` : ''
}

export function printWarnings(warnings: readonly Warning[], out: NodeJS.WriteStream = process.stderr): void {
  for (const { code, message } of warnings) out.write(`${painter(out)('yellow', 'warning')} ${code}: ${message}\n`)
}

function columns(stream: NodeJS.WriteStream): number {
  const wanted = stream.columns ?? Number(process.env['COLUMNS'] ?? 80)
  return Number.isSafeInteger(wanted) && wanted >= 20 ? wanted : 80
}
