import { harmless } from './harmless.js'
import type { SelectedSpan } from './types.js'

/** A character as shown, and whether it is kept text. */
interface Cell {
  char: string
  kept: boolean
}

const BARS = ' ▁▂▃▄▅▆▇█'

/** Values between 0 and 1 as blocks, one column each; what is not 0 is visible. */
export function bar(values: Float32Array): string {
  return Array.from(values, (value) => BARS[value > 0 ? Math.max(1, Math.round(value * 8)) : 0]).join('')
}

/** Spans of one string with `context` code units around them; those whose surroundings meet share a paragraph. */
export function excerpts(text: string, spans: SelectedSpan[], context: number): Cell[][] {
  const all: Cell[][] = []
  let cells: Cell[] = []
  let shown = -1
  spans.forEach((span, i) => {
    const from = Math.max(0, span.start - context)
    if (from > shown) {
      cells = from > 0 ? toCells('…', false) : []
      all.push(cells)
      shown = from
    }
    const next = spans[i + 1]?.start ?? Infinity
    const to = Math.min(text.length, span.end + context)
    cells.push(...toCells(text.slice(shown, span.start), false), ...toCells(text.slice(span.start, span.end), true))
    shown = Math.max(span.end, Math.min(to, next))
    cells.push(...toCells(text.slice(span.end, shown), false))
    if (next - context > shown && shown < text.length) cells.push(...toCells('…', false))
  })
  return all
}

/** One cell a character, white space as one space. */
export function toCells(text: string, kept: boolean): Cell[] {
  return Array.from(harmless(text.replace(/\s+/g, ' ')), (char) => ({ char, kept }))
}

/** Lines of at most `width` characters; kept text is bold or, without colour, in brackets. */
export function wrap(cells: Cell[], width: number, color: boolean): string[] {
  const marked = color ? cells : bracketed(cells)
  const lines: string[] = []
  for (let at = 0; at < marked.length;) {
    let end = Math.min(at + width, marked.length)
    if (end < marked.length) {
      let space = end
      while (space > at && marked[space]!.char !== ' ') space--
      if (space > at) end = space
    }
    lines.push(paint(marked.slice(at, end), color))
    at = end + (marked[end]?.char === ' ' ? 1 : 0)
  }
  return lines
}

function bracketed(cells: Cell[]): Cell[] {
  const all: Cell[] = []
  cells.forEach((cell, i) => {
    if (cell.kept && !cells[i - 1]?.kept) all.push({ char: '[', kept: true })
    all.push(cell)
    if (cell.kept && !cells[i + 1]?.kept) all.push({ char: ']', kept: true })
  })
  return all
}

function paint(cells: Cell[], color: boolean): string {
  if (!color) return cells.map((cell) => cell.char).join('')
  let text = ''
  cells.forEach((cell, i) => {
    if (cell.kept !== cells[i - 1]?.kept) text += cell.kept ? '\x1b[0;1m' : '\x1b[0;2m'
    text += cell.char
  })
  return cells.length > 0 ? `${text}\x1b[0m` : text
}
