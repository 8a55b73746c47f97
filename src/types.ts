import type { ChatMessage, Generation, GenerateOptions, Prompt, SelectOptions } from './generation-types.js'
import type { DeviceInfo, ModelInfo } from './load-types.js'
import type { Selection } from './selection-types.js'

export type { ErrorCode, WarningCode } from './errors.js'
export type * from './generation-types.js'
export type * from './load-types.js'
export type * from './policy-types.js'
export type * from './selection-types.js'

/** A loaded model. It answers one request at a time, others wait in order; used after `dispose` it throws `ERR_DISPOSED`. */
export interface Model extends AsyncDisposable {
  /** What its header says. */
  readonly info: ModelInfo
  /** Where it runs. */
  readonly device: DeviceInfo
  /** Its tokenizer. */
  readonly tokenizer: Tokenizer
  /** Whether `dispose` has been called. */
  readonly disposed: boolean
  /**
   * Answers a prompt. Options are checked at once (`ERR_INVALID_ARG`, `ERR_POLICY_UNSUPPORTED`); what depends on data
   * or machine rejects: `ERR_CONTEXT_OVERFLOW`, `ERR_EMPTY_PROMPT`, `ERR_CHAT_TEMPLATE`, `ERR_OUT_OF_MEMORY`,
   * `ERR_BUSY`, `ERR_NUMERICS`, and `ERR_INVALID_ARG` of pins, indices and budgets that only the prompt shows to be
   * wrong.
   */
  generate(prompt: Prompt, options?: GenerateOptions): Generation
  /**
   * What the policy keeps, without writing an answer. Rejects with the errors of `generate`, those of options too;
   * warnings are process warnings.
   */
  select(prompt: Prompt, options?: SelectOptions): Promise<Selection>
  /** Cancels what runs; resolves once the memory is free. May be called again. */
  dispose(): Promise<void>
}

/** The model's tokenizer. Lone surrogates in texts become U+FFFD. */
export interface Tokenizer {
  /** Text to ids. With `special` (default false), texts of special tokens become them. */
  encode(text: string, options?: { special?: boolean }): Uint32Array
  /** Ids to text; `skipSpecial` (default false) leaves special tokens out. */
  decode(ids: Uint32Array, options?: { skipSpecial?: boolean }): string
  /** `offsets` is flat: `[start, end)` pairs in UTF-16 code units. */
  encodeWithOffsets(text: string): { ids: Uint32Array; offsets: Uint32Array }
  /**
   * A chat as text; `addGenerationPrompt` (default true) begins the answer. Without a template, or where it refuses:
   * `ERR_CHAT_TEMPLATE`.
   */
  applyChatTemplate(messages: ChatMessage[], options?: { addGenerationPrompt?: boolean }): string
}

/**
 * `out` saves the allocation: it is filled and its filled part is returned. Lengths that do not fit throw `ERR_INVALID_ARG`, scores
 * that are NaN or infinite `ERR_NUMERICS`.
 */
export interface Kernels {
  /** The indices of the `k` largest scores; equal scores: the lower index first. Order of the answer: by index (default) or by score. */
  selectTopK(scores: Float32Array, k: number, options?: { order?: 'index' | 'score'; out?: Uint32Array }): Uint32Array
  /** Moving average over an odd `window`; values outside count as 0. */
  avgPool1d(x: Float32Array, window: number, out?: Float32Array): Float32Array
  /**
   * Copies the named rows, in that order, of `src` (`[rows, rowLength]`); a row that is not there is
   * `ERR_INVALID_ARG`.
   */
  gatherRows(src: Float32Array, rowLength: number, rows: Uint32Array, out?: Float32Array): Float32Array
  /** `q` is `[heads, dim]`, `k` is `[kvHeads, tokens, dim]`: for each token the sum over heads of q_h . k_(h / group). */
  scoreLastQuery(
    q: Float32Array,
    k: Float32Array,
    shape: { heads: number; kvHeads: number; tokens: number; dim: number },
  ): Float32Array
}
