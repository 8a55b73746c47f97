import type { Policy, PolicyKind } from './policy-types.js'
import type { Selection } from './selection-types.js'

export type { ErrorCode } from './errors.js'
export type * from './policy-types.js'
export type * from './selection-types.js'

// ── load ──

/** Where a model runs; `auto` is the first usable GPU, else the CPU. `devices()` lists what there is. */
export type DeviceId = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** A path, a hub id (`owner/name`) or a built-in name (`smollm2-135m`); or one of the first two, spelled out. */
export type ModelSource = string | { path: string } | { hub: string; file?: string; revision?: string }

/** A number format. For weights only float checkpoints are converted, to `q8_0` or `q4_k`. */
export type Dtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_k'

/** A number format of cached keys and values. */
export type KvDtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0'

/** Options of `loadModel`; an unknown one is `ERR_INVALID_ARG`. */
export interface LoadOptions {
  /** Default `auto`. One that cannot be used is `ERR_DEVICE` with the reason. */
  device?: DeviceId
  /**
   * The type of cached keys and values; `auto` is f16. Or a smaller format for the weights of a float checkpoint, made
   * while it loads (the cache is f16 then); weights in blocks stay what they are.
   */
  dtype?: Dtype
  /**
   * The type of cached keys and values, whatever `dtype` says; `auto` is what it says. `q8_0` takes 34 bytes for 32
   * numbers, about half of f16, and rounds them to 8 bits: on the CPU, for models whose heads have a multiple of 32
   * numbers (else `ERR_INVALID_ARG`).
   */
  kvDtype?: KvDtype
  /** Positions to use, up to the model's own limit. */
  contextLength?: number
  /** Threads of the model's kernels; default: the machine's cores. */
  threads?: number
  /** Path of a `tokenizer.json` to use in place of what the file carries. */
  tokenizer?: string
  /** Jinja source to use in place of what the file carries. */
  chatTemplate?: string
  /**
   * Path of a profile that `skimlm calibrate` wrote. Default: the model's path with `.skimlm.json` behind it, if there
   * is such a file, else the built-in profile of the model, if it has one.
   */
  profile?: string
  /** Read every weight once and refuse NaN and infinities. */
  verify?: boolean
  /** Generations that may wait before `ERR_BUSY`; default 256. */
  maxQueue?: number
  /** Where fetched models live. Default: `SKIMLM_CACHE_DIR`, else `skimlm` in `XDG_CACHE_HOME` or `~/.cache`. */
  cacheDir?: string
  /** Never use the network; default: `SKIMLM_OFFLINE`. */
  offline?: boolean
  /** For gated models; default: `HF_TOKEN`. */
  hubToken?: string
  /** A mirror of the model hub; default: `HF_ENDPOINT`, else the public hub. */
  hubEndpoint?: string
  /** Once aborted, fetching and loading stop and the promise rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called as it goes on. If it throws, it is reported by a process warning (`W_CALLBACK`) and called no more. */
  onProgress?: (progress: LoadProgress) => void
}

/** What fetching a model depends on. */
export type HubOptions = Pick<
  LoadOptions,
  'cacheDir' | 'offline' | 'hubToken' | 'hubEndpoint' | 'signal' | 'onProgress'
>

/** How far fetching (`download`) or reading (`weights`) has come, in bytes. */
export type LoadProgress =
  | { phase: 'download'; file: string; loadedBytes: number; totalBytes: number | null }
  | { phase: 'weights'; loadedBytes: number; totalBytes: number }

/** What a model can run on. */
export interface DeviceInfo {
  /** What the option `device` takes. */
  id: DeviceId
  /** As the system calls it. */
  name: string
  /** Its memory. */
  totalBytes: number
  /** Its memory that is free now. */
  freeBytes: number
  /** Why it cannot be used; absent when it can. */
  reason?: string
}

/** What a model's header says. */
export interface ModelInfo {
  /** `llama`, `qwen2`, `gemma3`, ...: the family. */
  architecture: string
  /** Decoder layers. */
  layers: number
  /** Query heads of a layer. */
  heads: number
  /** Heads of keys and values; `heads` is a multiple. */
  kvHeads: number
  /** Numbers in a head. */
  headDim: number
  /** Width of the residual stream. */
  hiddenSize: number
  /** Rows of the embedding. */
  vocabSize: number
  /** Tokens of prompt and answer together, at most. */
  maxPositions: number
  /** The format of most weights, such as `Q4_1`; null where they are floats. */
  quantization: string | null
  /** Weights, counted. */
  parameters: number
  /** The Jinja source; null: chats are `ERR_CHAT_TEMPLATE`. */
  chatTemplate: string | null
  /** What the model can do; others are `ERR_POLICY_UNSUPPORTED`. */
  supportedPolicies: PolicyKind[]
  /** The layer (from 0) that chooses where a policy names none. */
  defaultFilterLayer: number
  /** The kinds of rotation in use. */
  rope: RopeInfo[]
  /** Positions that layers with a sliding window see back; null if no layer has one. */
  window: number | null
  /** One entry a layer. */
  layout: LayerInfo[]
  /** Why the model will not load, one sentence each; empty if it will. */
  unsupported: string[]
  /** The tensors by number format, most bytes first. */
  tensorTypes: TensorTypeInfo[]
}

/** How positions are rotated into queries and keys. */
export interface RopeInfo {
  /** `stored`: a table of factors beside the weights. */
  kind: 'default' | 'linear' | 'dynamic' | 'llama3' | 'yarn' | 'longrope' | 'stored'
  /** Base of the frequencies. */
  base: number
  /** How far the context was stretched, where the files state it. */
  factor: number | null
  /** Positions of the context before that, where the files state them. */
  originalPositions: number | null
  /** Numbers of a head that are rotated. */
  dims: number
}

/** What one layer sees, and how it rotates. */
export interface LayerInfo {
  /** Positions that it sees back; null: all. */
  window: number | null
  /** Its rotation, an index of `rope`. */
  rope: number
}

/** The tensors of one number format. */
export interface TensorTypeInfo {
  /** As the file calls it. */
  type: string
  /** How many. */
  tensors: number
  /** Numbers in them. */
  elements: number
  /** In the file; 0 for a format of unknown size. */
  bytes: number
  /** Whether there is a kernel for it. */
  supported: boolean
}

/** A request, as far as memory goes. */
export interface MemoryNeed {
  /** Tokens of the prompt. */
  promptTokens: number
  /** Default: 256. */
  maxNewTokens?: number
  /** Default: `full`. */
  policy?: Policy
  /** As in `LoadOptions`. */
  dtype?: Dtype
  /** As in `LoadOptions`. */
  kvDtype?: KvDtype
}

/** Bytes that a request takes at its peak, beside what Node itself takes. */
export interface MemoryEstimate {
  /** All of them, as if resident. */
  weights: number
  /** Keys and values. */
  kvCache: number
  /** What a pass over the prompt works in. */
  activations: number
  /** The native code and the tokenizer. */
  program: number
  /** The sum. */
  total: number
  /** What is free there now. */
  freeOnDevice: number
  /** Whether `total` is free. */
  fits: boolean
}

// ── generate ──

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
  /** UTF-16 ranges of the document that must survive the selection. */
  pins?: { text?: [number, number][] }
  /** Keep exactly these prompt tokens: the replay of a selection. */
  forceIndices?: Uint32Array
  /** Default 256. Fewer where the model's positions end (`W_SHORTENED`). */
  maxNewTokens?: number
  /** 0 is greedy. */
  temperature?: number
  /** Draw from the so many likeliest tokens; default: all. */
  topK?: number
  /** Draw from the likeliest tokens that together have this probability, above 0, up to 1; default 1. */
  topP?: number
  /** Draw from tokens at least this likely relative to the likeliest, 0 to 1; default 0. */
  minP?: number
  /** Above 1: what was said becomes less likely. Default 1. */
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
  /** Of the prompt, in the cache already. */
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
  /** Of the prompt, as far as the whole model read them. */
  keptTokens: number
  /** Of the prompt, in the cache already. */
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
  /** The most that the process has had resident; 0 where the system does not tell. */
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
  /** The seed that was used; absent where nothing was generated. */
  seed?: number
  /** The ten token ids most likely to come first, best first; absent where nothing was generated. */
  firstTokenTop?: number[]
}

/** A remark that did not stop the work; `code` is stable, `W_...`. */
export interface Warning {
  /** Stable. */
  code: string
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
   * Answers a prompt. Options are checked at once (`ERR_INVALID_ARG`); what depends on data or machine rejects:
   * `ERR_CONTEXT_OVERFLOW`, `ERR_EMPTY_PROMPT`, `ERR_OUT_OF_MEMORY`, `ERR_BUSY`, `ERR_NUMERICS`.
   */
  generate(prompt: Prompt, options?: GenerateOptions): Generation
  /** What the policy keeps, without writing an answer. */
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

// ── raw kernels for tests and tinybench ──

/** `out` saves the allocation: it is filled and its filled part is returned. */
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
