import type { Policy, PolicyKind } from './policy-types.js'

export type { ErrorCode } from './errors.js'
export type * from './policy-types.js'

// ── load ──

export type DeviceId = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** A path, a hub id (`owner/name`) or a built-in name (`smollm2-135m`); or one of the first two, spelled out. */
export type ModelSource = string | { path: string } | { hub: string; file?: string; revision?: string }

export type Dtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_k'

export type KvDtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0'

export interface LoadOptions {
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
  cacheDir?: string
  offline?: boolean
  hubToken?: string
  hubEndpoint?: string
  signal?: AbortSignal
  onProgress?: (progress: LoadProgress) => void
}

/** What fetching a model depends on. */
export type HubOptions = Pick<
  LoadOptions,
  'cacheDir' | 'offline' | 'hubToken' | 'hubEndpoint' | 'signal' | 'onProgress'
>

export type LoadProgress =
  | { phase: 'download'; file: string; loadedBytes: number; totalBytes: number | null }
  | { phase: 'weights'; loadedBytes: number; totalBytes: number }

export interface DeviceInfo {
  id: DeviceId
  name: string
  totalBytes: number
  freeBytes: number
  /** Why it cannot be used; absent when it can. */
  reason?: string
}

export interface ModelInfo {
  architecture: string
  layers: number
  heads: number
  kvHeads: number
  headDim: number
  hiddenSize: number
  vocabSize: number
  maxPositions: number
  quantization: string | null
  parameters: number
  chatTemplate: string | null
  supportedPolicies: PolicyKind[]
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

export interface LayerInfo {
  /** Positions that it sees back; null: all. */
  window: number | null
  /** Its rotation, an index of `rope`. */
  rope: number
}

export interface TensorTypeInfo {
  type: string
  tensors: number
  elements: number
  /** In the file; 0 for a format of unknown size. */
  bytes: number
  /** Whether there is a kernel for it. */
  supported: boolean
}

/** A request, as far as memory goes. */
export interface MemoryNeed {
  promptTokens: number
  /** Default: 256. */
  maxNewTokens?: number
  /** Default: `full`. */
  policy?: Policy
  dtype?: Dtype
  kvDtype?: KvDtype
}

/** Bytes that a request takes at its peak, beside what Node itself takes. */
export interface MemoryEstimate {
  weights: number
  kvCache: number
  activations: number
  /** The native code and the tokenizer. */
  program: number
  total: number
  freeOnDevice: number
  /** Whether `total` is free. */
  fits: boolean
}

// ── generate ──

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant'
  content: string
}

export type Prompt =
  string | ChatMessage[] | { document: string; question: string; system?: string } | { tokens: Uint32Array }

export interface GenerateOptions {
  policy?: Policy
  /** UTF-16 ranges of the document that must survive the selection. */
  pins?: { text?: [number, number][] }
  /** Keep exactly these prompt tokens: the replay of a selection. */
  forceIndices?: Uint32Array
  maxNewTokens?: number
  /** 0 is greedy. */
  temperature?: number
  topK?: number
  topP?: number
  minP?: number
  repetitionPenalty?: number
  seed?: number
  stop?: string[]
  /** What to do with a prompt over the limit; default `error`: text is never dropped silently. */
  overflow?: 'error' | 'truncate-start' | 'truncate-middle'
  /** Once aborted, the work stops and its promises reject with `signal.reason`. */
  signal?: AbortSignal
  onPrefill?: (progress: PrefillProgress) => void
}

export interface SelectOptions {
  policy?: Policy
  /** `all`: `allScores` and `heads` are wanted too. */
  scores?: 'kept' | 'all'
  signal?: AbortSignal
}

export interface PrefillProgress {
  stage: 'filter' | 'prefill'
  done: number
  total: number
  cached: number
}

export interface TextChunk {
  text: string
  tokenIds: Uint32Array
  logprob?: number
}

export type FinishReason = 'stop' | 'length' | 'stop-string' | 'cancelled'

export interface Usage {
  promptTokens: number
  keptTokens: number
  cachedTokens: number
  newTokens: number
  truncatedTokens: number
}

export interface Timings {
  queueMs: number
  tokenizeMs: number
  filterMs: number
  selectMs: number
  prefillMs: number
  ttftMs: number
  decodeMs: number
  tokensPerSecond: number
}

export interface MemoryUse {
  peakBytes: number
  kvBytes: number
  /** Cached entries of every layer. */
  layerEntries: number[]
}

export interface GenerationResult {
  text: string
  finishReason: FinishReason
  stopString?: string
  selection: Selection | null
  usage: Usage
  timings: Timings
  memory: MemoryUse
  warnings: Warning[]
  /** The seed that was used; absent where nothing was generated. */
  seed?: number
  /** The ten token ids most likely to come first, best first; absent where nothing was generated. */
  firstTokenTop?: number[]
}

/** A remark that did not stop the work; `code` is stable, `W_...`. */
export interface Warning {
  code: string
  message: string
}

/** One generation. It starts on the first pull, or when `result`, `selection` or `text()` is first asked for. */
export interface Generation extends AsyncIterable<TextChunk>, AsyncDisposable {
  readonly result: Promise<GenerationResult>
  readonly selection: Promise<Selection | null>
  text(): Promise<string>
  events(): AsyncIterable<GenerationEvent>
  toReadableStream(): ReadableStream<string>
  /** Stops and keeps the text so far; an aborted signal rejects instead. */
  cancel(): void
}

export type GenerationEvent =
  | ({ type: 'prefill' } & PrefillProgress)
  | { type: 'selection'; selection: Selection }
  | ({ type: 'text' } & TextChunk)
  | { type: 'finish'; result: GenerationResult }

export interface Model extends AsyncDisposable {
  readonly info: ModelInfo
  readonly device: DeviceInfo
  readonly tokenizer: Tokenizer
  readonly disposed: boolean
  generate(prompt: Prompt, options?: GenerateOptions): Generation
  /** What the policy keeps, without writing an answer. */
  select(prompt: Prompt, options?: SelectOptions): Promise<Selection>
  /** Cancels what runs; resolves once the memory is free. May be called again. */
  dispose(): Promise<void>
}

export interface Tokenizer {
  encode(text: string, options?: { special?: boolean }): Uint32Array
  decode(ids: Uint32Array, options?: { skipSpecial?: boolean }): string
  /** `offsets` is flat: `[start, end)` pairs in UTF-16 code units. */
  encodeWithOffsets(text: string): { ids: Uint32Array; offsets: Uint32Array }
  applyChatTemplate(messages: ChatMessage[], options?: { addGenerationPrompt?: boolean }): string
}

// ── what the early layers kept ──

/** What the heads of one layer keep: prompt indices, ascending, one list a head or one for all heads. */
export interface LayerHeads {
  layer: number
  heads: Uint32Array[]
}

export interface Selection extends Iterable<SelectedToken> {
  readonly policy: Policy
  /** The policy that served, where `auto` chose it. */
  readonly served: Policy | null
  /** The layer whose scores chose. */
  readonly layer: number
  /** Tokens asked for. */
  readonly budget: number
  /** Where layer, budget and score come from, in one sentence. */
  readonly reason: string
  readonly promptTokens: number
  /** Kept prompt tokens, ascending. */
  readonly indices: Uint32Array
  /** The score of each kept token. */
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
  toJSON(): { policy: Policy; layer: number; promptTokens: number; indices: number[]; scores: number[] }
}

export interface SelectedToken {
  /** Position in the prompt. */
  index: number
  id: number
  text: string
  score: number
  source: 'document' | 'question' | 'template'
  /** UTF-16 range in the caller's string; of a chat, in the content of message `message`. */
  start: number
  end: number
  message?: number
}

export interface SelectedSpan {
  /** UTF-16 range in the caller's string; of a chat, in the content of message `message`. */
  start: number
  end: number
  text: string
  firstIndex: number
  lastIndex: number
  /** The largest score inside. */
  score: number
  message?: number
}

// ── raw kernels for tests and tinybench ──

/** `out` saves the allocation: it is filled and its filled part is returned. */
export interface Kernels {
  /** The indices of the `k` largest scores; equal scores: the lower index first. Order of the answer: by index (default) or by score. */
  selectTopK(scores: Float32Array, k: number, options?: { order?: 'index' | 'score'; out?: Uint32Array }): Uint32Array
  /** Moving average over an odd `window`; values outside count as 0. */
  avgPool1d(x: Float32Array, window: number, out?: Float32Array): Float32Array
  gatherRows(src: Float32Array, rowLength: number, rows: Uint32Array, out?: Float32Array): Float32Array
  /** `q` is `[heads, dim]`, `k` is `[kvHeads, tokens, dim]`: for each token the sum over heads of q_h . k_(h / group). */
  scoreLastQuery(
    q: Float32Array,
    k: Float32Array,
    shape: { heads: number; kvHeads: number; tokens: number; dim: number },
  ): Float32Array
}
