import type { Policy } from './policy-types.js'

/** What the heads of one layer keep: prompt indices, ascending, one list a head or one for all heads. */
export interface LayerHeads {
  /** From 0. */
  layer: number
  /** Ascending prompt indices: a list a head, or one for all. */
  heads: Uint32Array[]
}

/** What the early layers kept of a prompt. */
export interface Selection extends Iterable<SelectedToken> {
  /** The policy that was asked for. */
  readonly policy: Policy
  /** The policy that served, where `auto` chose it. */
  readonly served: Policy | null
  /** The layer whose scores chose. */
  readonly layer: number
  /** Tokens asked for. */
  readonly budget: number
  /** Where layer, budget and score come from, in one sentence. */
  readonly reason: string
  /** Tokens of the whole prompt. */
  readonly promptTokens: number
  /** Kept prompt tokens, ascending. */
  readonly indices: Uint32Array
  /**
   * The score of each kept token; where heads differ, the share of them that keep it; zeros where `auto` read
   * everything.
   */
  readonly scores: Float32Array
  /** The score of every prompt token, where asked for and where one row of scores covers the prompt. */
  readonly allScores: Float32Array | null
  /** Where asked for with `scores: 'all'` and where layers or heads keep different tokens: which. */
  readonly heads: readonly LayerHeads[] | null
  /** The i-th kept token; negative numbers count from the end. */
  at(i: number): SelectedToken
  /** Kept stretches of the document; gaps of up to `joinGap` code units (default 0) are bridged. */
  spans(options?: { joinGap?: number }): SelectedSpan[]
  /** The share of tokens kept in each of `bins` equal stretches of the prompt. */
  coverage(bins?: number): Float32Array
  /** The kept text, ready to send to another model. */
  toText(options?: { joinGap?: number; ellipsis?: string }): string
  /** The kept text with `context` code units around each stretch, kept parts emphasised. */
  toTerminal(options?: { width?: number; color?: boolean; context?: number }): string
  /**
   * The whole text (of a chat, all messages but the system's), kept parts marked, the stronger the higher their score.
   * A page of its own or, without `standalone` (default true), a block to put into one; it has no scripts and loads
   * nothing.
   */
  toHTML(options?: { title?: string; theme?: 'light' | 'dark' | 'auto'; standalone?: boolean }): string
  /** Plain JSON, without texts. */
  toJSON(): { policy: Policy; layer: number; promptTokens: number; indices: number[]; scores: number[] }
}

/** One kept token. */
export interface SelectedToken {
  /** Position in the prompt. */
  index: number
  /** In the vocabulary. */
  id: number
  /** Its own text. */
  text: string
  /** What the policy gave it; higher is better. */
  score: number
  /** Where it comes from. */
  source: 'document' | 'question' | 'template'
  /**
   * UTF-16 range in the caller's own string: the prompt, or, of `{ document, question }`, the one that `source` names;
   * of a chat, the content of message `message`. Empty where there is none: the template's words, `system` and bare
   * tokens.
   */
  start: number
  /** After its last code unit. */
  end: number
  /** Of a chat: which. */
  message?: number
}

/** A kept stretch of the document. */
export interface SelectedSpan {
  /** UTF-16 range in the caller's string; of a chat, in the content of message `message`. */
  start: number
  /** After its last code unit. */
  end: number
  /** `document.slice(start, end)`, bridged gaps included. */
  text: string
  /** Position of its first token in the prompt. */
  firstIndex: number
  /** Position of its last token in the prompt. */
  lastIndex: number
  /** The largest score inside. */
  score: number
  /** Of a chat: which. */
  message?: number
}
