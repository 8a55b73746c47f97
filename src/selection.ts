import { wantsColor } from './color.js'
import { invalidOption } from './errors.js'
import { page } from './html.js'
import { joinSpans } from './spans.js'
import { bar, excerpts, toCells, wrap } from './terminal.js'
import type { LayerHeads, Policy, Prompt, SelectedSpan, SelectedToken, Selection } from './types.js'

/** What crosses the seam: one entry a kept token in every array but `allScores`. */
export interface SelectionData {
  policy: Policy
  served?: Policy | null
  layer: number
  budget: number
  reason: string
  promptTokens: number
  indices: Uint32Array
  scores: Float32Array
  allScores?: Float32Array | null
  heads?: LayerHeads[] | null
  ids: Uint32Array
  texts: string[]
  /** Index into `sources`. */
  sources: Uint8Array
  /** Index of the chat message, -1 where there is none. */
  messages: Int32Array
  starts: Uint32Array
  ends: Uint32Array
}

/** The order of the native side. */
const sources = ['document', 'question', 'template'] as const

class KeptTokens implements Selection {
  readonly #data: SelectionData
  readonly #prompt: Prompt
  readonly policy: Policy
  readonly served: Policy | null
  readonly layer: number
  readonly budget: number
  readonly reason: string
  readonly promptTokens: number
  readonly indices: Uint32Array
  readonly scores: Float32Array
  readonly allScores: Float32Array | null
  readonly heads: readonly LayerHeads[] | null

  constructor(data: SelectionData, prompt: Prompt) {
    this.#data = data
    this.#prompt = prompt
    this.policy = data.policy
    this.served = data.served ?? null
    this.layer = data.layer
    this.budget = data.budget
    this.reason = data.reason
    this.promptTokens = data.promptTokens
    this.indices = data.indices
    this.scores = data.scores
    this.allScores = data.allScores ?? null
    this.heads = data.heads ?? null
  }

  at(i: number): SelectedToken {
    const { length } = this.indices
    const at = i < 0 ? length + i : i
    if (!Number.isInteger(i) || at < 0 || at >= length)
      throw invalidOption('i', i, `a whole number from ${-length} to ${length - 1}`)
    const { ids, texts, sources: from, messages, starts, ends } = this.#data
    const message = messages[at]!
    return {
      index: this.indices[at]!,
      id: ids[at]!,
      text: texts[at]!,
      score: this.scores[at]!,
      source: sources[from[at]!] ?? 'template',
      start: starts[at]!,
      end: ends[at]!,
      ...(message >= 0 ? { message } : {}),
    }
  }

  *[Symbol.iterator](): Generator<SelectedToken, undefined> {
    for (let i = 0; i < this.indices.length; i++) yield this.at(i)
  }

  spans({ joinGap = 0 }: { joinGap?: number } = {}): SelectedSpan[] {
    size('joinGap', joinGap, 0)
    return joinSpans(this, (message) => this.#text(message), joinGap)
  }

  coverage(bins = 64): Float32Array {
    size('bins', bins, 1)
    const kept = new Float32Array(bins)
    const all = this.promptTokens
    for (const index of this.indices) kept[Math.floor((index * bins) / all)]! += 1
    // The tokens i with floor(i * bins / all) = b are those from ceil(b * all / bins) on.
    const first = (b: number) => Math.ceil((b * all) / bins)
    return kept.map((count, b) => (count === 0 ? 0 : count / (first(b + 1) - first(b))))
  }

  toText({ joinGap = 0, ellipsis = ' … ' }: { joinGap?: number; ellipsis?: string } = {}): string {
    return this.spans({ joinGap })
      .map((span) => span.text)
      .join(ellipsis)
  }

  toTerminal(options: { width?: number; color?: boolean; context?: number } = {}): string {
    const { width = process.stdout.columns ?? 80, color = wantsColor(process.stdout), context = 40 } = options
    size('width', width, 20)
    size('context', context, 0)
    const lines = [this.#summary(), `▕${bar(this.coverage(Math.min(width - 2, 64)))}▏`]
    const spans = this.spans()
    for (const message of new Set(spans.map((span) => span.message))) {
      const own = spans.filter((span) => span.message === message)
      const text = this.#text(message)
      const parts = text === undefined ? own.map((span) => toCells(span.text, true)) : excerpts(text, own, context)
      for (const cells of parts) lines.push('', ...wrap(cells, width, color))
    }
    return lines.join('\n')
  }

  toHTML(options: { title?: string; theme?: 'light' | 'dark' | 'auto'; standalone?: boolean } = {}): string {
    const { title = 'What was read', theme = 'auto', standalone = true } = options
    if (!['light', 'dark', 'auto'].includes(theme)) throw invalidOption('theme', theme, '"light", "dark" or "auto"')
    const passages = new Map<number | undefined, SelectedToken[]>(this.#passages().map((message) => [message, []]))
    for (const token of this) if (this.#shown(token)) passages.get(token.message)?.push(token)
    return page({
      title: String(title),
      summary: this.#summary(),
      coverage: this.coverage(128),
      passages: [...passages].map(([message, tokens]) => ({ text: this.#text(message), tokens })),
      theme,
      standalone,
    })
  }

  toJSON(): ReturnType<Selection['toJSON']> {
    const { policy, layer, promptTokens } = this
    return { policy, layer, promptTokens, indices: Array.from(this.indices), scores: Array.from(this.scores) }
  }

  #summary(): string {
    const share = this.promptTokens === 0 ? 0 : (100 * this.indices.length) / this.promptTokens
    return `kept ${this.indices.length} of ${this.promptTokens} prompt tokens (${share.toFixed(1)} %), layer ${this.layer}`
  }

  /**
   * The texts to choose from: of a chat, its messages but those of the system; of another prompt, one without a
   * number.
   */
  #passages(): (number | undefined)[] {
    if (!Array.isArray(this.#prompt)) return [undefined]
    return this.#prompt.flatMap(({ role }, message) => (role === 'system' ? [] : [message]))
  }

  /** Whether a token's range is one of the passages'; the question beside a document is a string of its own. */
  #shown({ source }: SelectedToken): boolean {
    const apart = !Array.isArray(this.#prompt) && typeof this.#prompt === 'object' && 'document' in this.#prompt
    return source === 'document' || (source === 'question' && !apart)
  }

  /** The string that offsets index. */
  #text(message: number | undefined): string | undefined {
    const prompt = this.#prompt
    if (typeof prompt === 'string') return prompt
    if (Array.isArray(prompt)) return message === undefined ? undefined : prompt[message]?.content
    return 'document' in prompt ? prompt.document : undefined
  }
}

export function makeSelection(data: SelectionData, prompt: Prompt): Selection {
  return new KeptTokens(data, prompt)
}

function size(option: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min) throw invalidOption(option, value, `a whole number from ${min} on`)
}
