import type { WarningCode } from './errors.js'
import type { Policy } from './policy-types.js'
import type { Selection } from './selection-types.js'

/** One message of a chat. Its content is never parsed for special tokens. */
export interface ChatMessage {
  /** Who says it. */
  role: 'system' | 'user' | 'assistant'
  /** The text. */
  content: string
}

/** What is asked: plain text that goes on (`string`), a chat, a question about a document, or token ids as they are. */
export type Prompt =
  string | ChatMessage[] | { document: string; question: string; system?: string } | { tokens: Uint32Array }

/** Options of `generate`. A wrong value throws `ERR_INVALID_ARG` at once, with `{ option, value, expected }`. */
export interface GenerateOptions {
  /** What to read; default `auto`. */
  policy?: Policy
  /**
   * UTF-16 ranges that must survive the selection: of the document, of a plain string, or of a chat's last user
   * message. Of bare tokens there are none (`ERR_INVALID_ARG`).
   */
  pins?: { text?: [number, number][] }
  /**
   * Keep exactly these prompt tokens, ascending, each once: the replay of a selection. The policies `gemfilter` and
   * `promptdistill` take them, others (the default, too) are `ERR_INVALID_ARG`; what `auto` selected is replayed with
   * the selection's `served`.
   */
  forceIndices?: Uint32Array
  /** Default 256. Fewer where the model's positions end (`W_SHORTENED`). */
  maxNewTokens?: number
  /** What logits are divided by; 0, the default, is greedy. */
  temperature?: number
  /** Draw from the so many likeliest tokens; default: all. */
  topK?: number
  /** Draw from the likeliest tokens that together have this probability, above 0, up to 1; default 1. */
  topP?: number
  /** Draw from tokens at least this likely relative to the likeliest, 0 to 1; default 0. */
  minP?: number
  /** Above 1: the last 64 tokens, of the prompt too, become less likely. Default 1. */
  repetitionPenalty?: number
  /** The same seed draws the same tokens; default: a new one each time, reported as `result.seed`. */
  seed?: number
  /** Texts before which the answer ends: up to 64 of up to 4 KiB. */
  stop?: string[]
  /** What to do with a prompt over the limit; default `error`: text is never dropped silently. */
  overflow?: 'error' | 'truncate-start' | 'truncate-middle'
  /** Once aborted, the work stops and its promises reject with `signal.reason`. */
  signal?: AbortSignal
  /**
   * Called while the prompt is read. If it throws, the result has a warning (`W_CALLBACK`) and it is called no more.
   */
  onPrefill?: (progress: PrefillProgress) => void
}

/** Options of `select`. */
export interface SelectOptions {
  /** Default `gemfilter`; `full` selects nothing and is `ERR_INVALID_ARG`. */
  policy?: Policy
  /** `all`: `allScores` and `heads` are wanted too. */
  scores?: 'kept' | 'all'
  /** As in `GenerateOptions`. */
  signal?: AbortSignal
}

/** How far a prompt has been read, in tokens. */
export interface PrefillProgress {
  /** `filter`: a pass that chooses; `prefill`: the pass whose keys stay. */
  stage: 'filter' | 'prefill'
  /** Tokens read in this pass. */
  done: number
  /** Tokens of this pass. */
  total: number
  /** Of the prompt, in the cache already; 0 today, as in `Usage`. */
  cached: number
}

/** A piece of an answer. */
export interface TextChunk {
  /** Whole characters. */
  text: string
  /** The tokens since the last chunk. */
  tokenIds: Uint32Array
  /** The sum of their log-probabilities, in nats. */
  logprob?: number
}

/** `stop`: the model ended its answer; `length`: `maxNewTokens` was reached; `stop-string`: one came; `cancelled`: the caller stopped. */
export type FinishReason = 'stop' | 'length' | 'stop-string' | 'cancelled'

/** Tokens, counted. */
export interface Usage {
  /** Of the prompt. */
  promptTokens: number
  /**
   * Of the prompt, what is left to look at when the answer begins: the tokens of `selection`, or all; 0 where the
   * prompt was not read to its end.
   */
  keptTokens: number
  /** Of the prompt, in the cache already; 0 today, as every generation reads its own prompt. */
  cachedTokens: number
  /** Generated. */
  newTokens: number
  /** Left out because the prompt was too long (`overflow`). */
  truncatedTokens: number
}

/** Where the time went, in milliseconds. */
export interface Timings {
  /** Waiting for other generations. */
  queueMs: number
  /** Text to tokens. */
  tokenizeMs: number
  /** Passes that choose. */
  filterMs: number
  /** Evidence and choice. */
  selectMs: number
  /** The pass whose keys stay. */
  prefillMs: number
  /** From the start of the work, waiting included, to the first token. */
  ttftMs: number
  /** From the first token to the last. */
  decodeMs: number
  /** Tokens after the first by the second of decoding; 0 if there is only one. */
  tokensPerSecond: number
}

/** Memory, in bytes. */
export interface MemoryUse {
  /**
   * The most that has been taken where the model runs: on a GPU by tensors, on the CPU by the whole process, since it
   * began; 0 where the system does not tell.
   */
  peakBytes: number
  /** Keys and values at the end. */
  kvBytes: number
  /** Cached entries of every layer. */
  layerEntries: number[]
}

/** The end of a generation. */
export interface GenerationResult {
  /** The whole answer, stop string left out. */
  text: string
  /** Why it ended. */
  finishReason: FinishReason
  /** Which stop string came. */
  stopString?: string
  /** What was kept; null where everything was read. */
  selection: Selection | null
  /** Tokens. */
  usage: Usage
  /** Times. */
  timings: Timings
  /** Memory. */
  memory: MemoryUse
  /** Remarks that did not stop the work. */
  warnings: Warning[]
  /** The seed that was used; absent where the work never started. */
  seed?: number
  /**
   * The ten token ids most likely to come first, best first; empty where no token was chosen, absent where the work
   * never started.
   */
  firstTokenTop?: number[]
}

/** A remark that did not stop the work. */
export interface Warning {
  /** Stable; `docs/errors.md` says what each means. */
  code: WarningCode
  /** A sentence for people. */
  message: string
}

/** One generation. It starts on the first pull, or when `result`, `selection` or `text()` is first asked for. */
export interface Generation extends AsyncIterable<TextChunk>, AsyncDisposable {
  /** The end. Rejects with a `SkimError`, or with `signal.reason`. */
  readonly result: Promise<GenerationResult>
  /** What was kept, before the first text; null where everything is read. */
  readonly selection: Promise<Selection | null>
  /** The whole answer: `(await result).text`. */
  text(): Promise<string>
  /**
   * Everything that happens. Like the iteration over chunks it can be done once, else `ERR_ALREADY_CONSUMED`;
   * leaving the loop cancels.
   */
  events(): AsyncIterable<GenerationEvent>
  /**
   * The texts of the chunks; nothing starts before somebody reads, cancelling it cancels the generation. Can be done
   * once.
   */
  toReadableStream(): ReadableStream<string>
  /** Stops and keeps the text so far; an aborted signal rejects instead. */
  cancel(): void
}

/** What happens in a generation, in this order; `prefill` may be left out where the reader is slow, `selection` where none is made. */
export type GenerationEvent =
  | ({ type: 'prefill' } & PrefillProgress)
  | { type: 'selection'; selection: Selection }
  | ({ type: 'text' } & TextChunk)
  | { type: 'finish'; result: GenerationResult }
