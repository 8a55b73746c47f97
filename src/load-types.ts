import type { Policy, PolicyKind } from './policy-types.js'

/** Where a model runs; `auto` is the first usable GPU, else the CPU. `devices()` lists what there is. */
export type DeviceId = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** A path, a hub id (`owner/name`) or a built-in name (`smollm2-135m`); or one of the first two, spelled out. */
export type ModelSource = string | { path: string } | { hub: string; file?: string; revision?: string }

/** A number format. For weights only float checkpoints are converted, to `q8_0` or `q4_k`. */
export type Dtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_k'

/** A number format of cached keys and values. */
export type KvDtype = 'auto' | 'f32' | 'f16' | 'bf16' | 'q8_0'

/** How finely activations may be rounded before they are multiplied with weights in blocks. */
export type Activations = 'auto' | 'int8'

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
  /**
   * How finely activations may be rounded while a prompt is read. `auto` is as fine as f16; `int8` rounds
   * them to 8 bits, 32 to a scale, as llama.cpp does, where the CPU has an instruction for it (AVX-512 VNNI, AVX-VNNI or ARM's dot products;
   * `skimlm doctor` lists them) and changes nothing elsewhere. It reads faster and moves answers and selections a little.
   */
  activations?: Activations
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

/**
 * How far fetching (`download`) or reading (`weights`) has come, in bytes; `totalBytes` is null where the server does
 * not say.
 */
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
  /** As the file names it: `llama` (Mistral as GGUF too), `qwen2`, `gemma3` (in folders `gemma3_text`), ... */
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
  /** A short name for these very weights, by which a profile knows its model. */
  fingerprint: string
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
  /** Default: `auto`, as in `GenerateOptions`. */
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
  /** Main memory that is free now; 0 where the system does not tell. What a GPU has free, `devices()` tells. */
  freeOnDevice: number
  /** Whether `total` is free, or the system does not tell. */
  fits: boolean
}
