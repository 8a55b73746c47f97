import { harmless } from './harmless.js'
import type { SelectedToken } from './types.js'

/** A text of the prompt, and the kept tokens in it. */
export interface Passage {
  /** Absent for bare tokens, whose own texts have to do. */
  text: string | undefined
  tokens: readonly SelectedToken[]
}

export interface Page {
  title: string
  summary: string
  /** The kept share of each stretch of the prompt. */
  coverage: Float32Array
  passages: readonly Passage[]
  theme: 'light' | 'dark' | 'auto'
  standalone: boolean
}

/** Shades of a mark; a token's is its rank among the kept scores. */
const SHADES = 4

const light = '--ink:#1f2328;--rest:#8b949e;--paper:#fff;--mark:255,196,0'
const dark = '--ink:#f0f3f6;--rest:#7d8590;--paper:#0d1117;--mark:187,128,9'

/** The texts in full, what was kept marked, the stronger the higher its score; without scripts and without links. */
export function page({ title, summary, coverage, passages, theme, standalone }: Page): string {
  const head = `<p class="skimlm-summary">${escape(summary)}</p>\n${strip(coverage)}`
  const shade = shadeOf(passages.flatMap(({ tokens }) => tokens))
  const body = passages.map((passage) => `<p class="skimlm-text">${marked(passage, shade)}</p>`).join('\n')
  const block = `<div class="skimlm">\n<style>${style(theme)}</style>\n${head}\n${body}\n</div>\n`
  if (!standalone) return block
  const meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
  const outer = `body{margin:0 auto;max-width:50rem}html{background:${theme === 'dark' ? '#0d1117' : '#fff'}}`
  const auto = theme === 'auto' ? '@media(prefers-color-scheme:dark){html{background:#0d1117}}' : ''
  return `<!doctype html>\n<html lang="en">\n<head>${meta}<title>${escape(title)}</title><style>${outer}${auto}</style></head>\n<body>\n${block}</body>\n</html>\n`
}

function style(theme: Page['theme']): string {
  const shades = Array.from({ length: SHADES }, (_, i) => `.skimlm .s${i + 1}{--a:${(i + 1) / SHADES}}`)
  return [
    `.skimlm{${theme === 'dark' ? dark : light};background:var(--paper);color:var(--ink);padding:1rem;font:1rem/1.6 system-ui,sans-serif}`,
    theme === 'auto' ? `@media(prefers-color-scheme:dark){.skimlm{${dark}}}` : '',
    '.skimlm-summary{color:var(--rest);margin:0 0 .5rem}',
    '.skimlm-strip{display:flex;height:.75rem;margin-bottom:1rem;border:1px solid var(--rest);border-radius:3px;overflow:hidden}',
    '.skimlm-strip i{flex:1;background:rgba(var(--mark),var(--a))}',
    '.skimlm-text{white-space:pre-wrap;overflow-wrap:anywhere;color:var(--rest);margin:0 0 1rem}',
    '.skimlm mark{color:var(--ink);background:rgba(var(--mark),calc(.15 + .5*var(--a)));border-radius:2px}',
    ...shades,
  ].join('')
}

function strip(coverage: Float32Array): string {
  const cells = Array.from(coverage, (share) => `<i style="--a:${share.toFixed(2)}"></i>`)
  return `<div class="skimlm-strip" role="img" aria-label="where in the prompt the kept tokens are">${cells.join('')}</div>`
}

/** From 1, the lowest quarter of the scores, to `SHADES`. */
function shadeOf(tokens: readonly SelectedToken[]): (token: SelectedToken) => number {
  const scores = Float32Array.from(tokens, ({ score }) => score).sort()
  const bounds = Array.from({ length: SHADES - 1 }, (_, i) => scores[Math.floor(((i + 1) * scores.length) / SHADES)]!)
  return ({ score }) => 1 + bounds.filter((bound) => score >= bound).length
}

function marked({ text, tokens }: Passage, shade: (token: SelectedToken) => number): string {
  if (text === undefined)
    return tokens.map((token) => `<mark class="s${shade(token)}">${escape(token.text)}</mark>`).join(' ')
  const runs: { start: number; end: number; shade: number }[] = []
  for (const token of tokens) {
    const last = runs.at(-1)
    // Tokens that are parts of one character share its range.
    const start = Math.max(token.start, last?.end ?? 0)
    if (token.end <= start) continue
    const own = shade(token)
    if (last && last.end === start && last.shade === own) last.end = token.end
    else runs.push({ start, end: token.end, shade: own })
  }
  let at = 0
  const parts = runs.map((run) => {
    const before = escape(text.slice(at, run.start))
    at = run.end
    return `${before}<mark class="s${run.shade}">${escape(text.slice(run.start, run.end))}</mark>`
  })
  return parts.join('') + escape(text.slice(at))
}

function escape(text: string): string {
  return harmless(text).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)
}
