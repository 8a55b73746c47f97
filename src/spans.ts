import type { SelectedSpan, SelectedToken } from './types.js'

/**
 * Joins document tokens, in order, to stretches of their string; gaps of up to `joinGap` code units are bridged.
 * Bare token prompts have no string: neighbouring tokens are joined and their own texts have to do.
 */
export function joinSpans(
  tokens: Iterable<SelectedToken>,
  textOf: (message: number | undefined) => string | undefined,
  joinGap: number,
): SelectedSpan[] {
  const spans: SelectedSpan[] = []
  const parts: string[][] = []
  for (const token of tokens) {
    if (token.source !== 'document') continue
    const last = spans.at(-1)
    const { start, end, index, score, message } = token
    const meets = (span: SelectedSpan) =>
      textOf(message) === undefined ? index === span.lastIndex + 1 : start >= span.start && start <= span.end + joinGap
    if (last && last.message === message && meets(last)) {
      last.end = Math.max(last.end, end)
      last.lastIndex = index
      last.score = Math.max(last.score, score)
      parts.at(-1)!.push(token.text)
    } else {
      spans.push({
        start,
        end,
        text: '',
        firstIndex: index,
        lastIndex: index,
        score,
        ...(message === undefined ? {} : { message }),
      })
      parts.push([token.text])
    }
  }
  spans.forEach((span, i) => {
    span.text = textOf(span.message)?.slice(span.start, span.end) ?? parts[i]!.join('')
  })
  return spans
}
