// Written by `npm run gen` from the registry of policies in crates/policies.

/** A selection method and its options. */
export type Policy =
  | AutoPolicy
  | FullPolicy
  | GemFilterPolicy
  | PromptDistillPolicy
  | SnapKvPolicy
  | PyramidKvPolicy
  | AdaKvPolicy
  | H2OPolicy
  | TovaPolicy
  | KnormPolicy
  | KeyDiffPolicy
  | SinkWindowPolicy
  | AnLlmPolicy
  | RandomPolicy
  | FirstLastPolicy

/** How many tokens to keep. */
export type Budget =
  | number
  | {
      /** Above 0, up to 1. */
      ratio: number
    }
  | {
      /** Share of the scores of all tokens that are not pinned: above 0, up to 1. */
      coverage: number

      /** At most this many tokens. */
      max: Limit

      /** At least this many tokens. */
      min?: number
    }

/** The most tokens that a budget may take. */
export type Limit =
  | number
  | {
      /** Above 0, up to 1. */
      ratio: number
    }

/** Where kept tokens stand. */
export type Positions = 'fresh' | 'original'

/** How query heads combine. */
export type Heads = AllHeads | ListedHead[]

/** A combination of all heads. */
export type AllHeads = 'sum' | 'mean' | 'max' | 'groups'

/** What an average does at the ends of the prompt. */
export type Edge = 'zero' | 'valid'

/** What smoothing takes of a window. */
export type PoolKind = 'avg' | 'max'

/** Which rows ask. */
export type Queries =
  | 'last'
  | 'question'
  | {
      /** The last rows, this many. */
      window: number
    }

/** What is kept as a whole. */
export type Round =
  | 'token'
  | 'sentence'
  | {
      /** Runs of this many tokens; the best runs are kept whole while they fit the budget. Where none fits, tokens. */
      chunk: number
    }

/** Whose entries a choice is about. */
export type HeadMode = 'kv' | 'query'

/** Which tokens are anchors. */
export type AnchorSpec = number[] | string

/** Reads short prompts whole and long ones by the cheapest setting that calibration has shown to find the evidence. */
export interface AutoPolicy {
  kind: 'auto'

  /** Evidence recall that a setting must have shown in calibration. */
  recall?: number
}

/** Every token is read by every layer and stays in the KV cache. */
export interface FullPolicy {
  kind: 'full'
}

/** The layers up to a filter layer read everything and choose; the whole model then reads the chosen tokens as a short prompt. */
export interface GemFilterPolicy {
  kind: 'gemfilter'

  /** Tokens to keep; none: 1024, or more if the pins need it. */
  budget?: Budget

  /** Share of the scores that must fall on tokens that are not pinned. Below it the question finds nothing in particular and the whole prompt is read; none: the choice stands in any case. */
  fallbackBelow?: number

  /** Filter layer, 0-based; none: the model's own. With a list of heads the last layer of the list decides in any case, and may not be above this one. */
  layer?: number

  /** Tokens that are always kept. */
  pins?: Pins

  /** Positions in the second pass. */
  positions?: Positions

  /** How tokens are scored. */
  score?: Score

  /** Layers below it at which the filter pass narrows already, so that the layers between read less. Where positions are fresh, they are so between stages, too: heads see badly over distances that are rare in training. */
  stages?: Stage[]
}

/** Tokens that survive whatever their score. */
export interface Pins {
  /** Whether pinned tokens count towards the budget. */
  chargeBudget?: boolean

  /** Last tokens of the prompt. */
  last?: number

  /** The question. */
  question?: boolean

  /** First tokens of the prompt (attention sinks). */
  sinks?: number

  /** The system message. */
  system?: boolean

  /** What the chat template puts around the contents. */
  template?: boolean
}

/** How evidence becomes one number a token. */
export interface Score {
  /** Tokens around each, an odd number, by whose mean its smoothed score is divided: what stands out from its surroundings counts, not what is near. 0: no division; none: 257. Scores that can be negative (raw dot products, negative weights) are never divided. */
  contrast?: number

  /** How heads combine. */
  heads?: Heads

  /** Consecutive layers, the deciding one the last, whose largest score counts. 1 for a list of heads, which names its layers. */
  layers?: number

  /** Smoothing; none: as they are. */
  pool?: Pool | null

  /** Who asks. */
  queries?: Queries

  /** What each part of the prompt gets in any case; none: nothing. */
  quota?: Quota

  /** What is kept as a whole. */
  round?: Round

  /** Softmax per head over all tokens, or raw dot products. */
  softmax?: boolean
}

/** One head of a list. */
export interface ListedHead {
  /** Query head. */
  head: number

  /** Layer. */
  layer: number

  /** Factor on its scores. */
  weight?: number
}

/** Smoothing over neighbouring tokens. */
export interface Pool {
  /** What an average does at the ends of the prompt; a maximum has no need of it. */
  edge?: Edge

  /** Average or maximum. */
  kind: PoolKind

  /** Tokens under the window, an odd number. */
  width: number
}

/** A share of the choice that is spread evenly over the prompt. */
export interface Quota {
  /** Share of the free budget that the best tokens of each stretch get before the best of all. */
  share: number

  /** Equal stretches of the prompt. */
  spans: number
}

/** A layer at which a pass narrows. */
export interface Stage {
  /** Tokens it keeps; a ratio is of the whole prompt. */
  budget: Budget

  /** The layer that chooses, 0-based. */
  layer: number

  /** How tokens are scored. */
  score?: Score
}

/** One pass that narrows: at each stage's layer the most relevant tokens go on to the layers above. */
export interface PromptDistillPolicy {
  kind: 'promptdistill'

  /** Tokens that are always kept. */
  pins?: Pins

  /** Where the tokens that go on stand above a stage: `original` with gaps, `fresh` without. */
  positions?: Positions

  /** Index of the query token in the prompt; none: the last token. */
  queryToken?: number

  /** Where and to how many tokens the prompt narrows, layers ascending; none: to 1024 at the model's default filter layer. */
  stages?: Stage[]

  /** After how many stages the caches below shrink too: 0 never, -1 after all. */
  truncateStages?: number

  /** Published pooling: the scores from the query token on count as 0. */
  zeroTail?: boolean
}

/** After each layer's prefill, every head keeps the entries that the last tokens look at. */
export interface SnapKvPolicy {
  kind: 'snapkv'

  /** Entries a head keeps, the window included. */
  budget?: number

  /** What the average does at the ends of the prompt. */
  edge?: Edge

  /** Who chooses. */
  headMode?: HeadMode

  /** Width of the smoothing, odd; none: 5 for the average, 7 for the maximum. */
  kernel?: number

  /** Smoothing of the weights over neighbouring entries. */
  pool?: PoolKind

  /** Last tokens whose queries ask and which always stay. */
  window?: number
}

/** SnapKV with a budget that shrinks from layer to layer. */
export interface PyramidKvPolicy {
  kind: 'pyramidkv'

  /** Entries a head keeps on average over the layers, the window included. */
  budget?: number

  /** Who chooses. */
  headMode?: HeadMode

  /** The top layer keeps one part in this many of the average, or more where the bottom layer has fewer entries than twice the average. */
  slope?: number

  /** Last tokens whose queries ask and which always stay. */
  window?: number
}

/** SnapKV with one budget a layer: heads that look at much keep much. */
export interface AdaKvPolicy {
  kind: 'adakv'

  /** Entries a kv head keeps on average over the heads of a layer, the window included. */
  budget?: number

  /** Share of its even part that a head has for certain, 0 to 1. */
  floor?: number

  /** Last tokens whose queries ask and which always stay. */
  window?: number
}

/** Every head keeps the entries that all queries together looked at most, and the most recent ones. */
export interface H2OPolicy {
  kind: 'h2o'

  /** Evict at every generated token too. */
  decodeEvict?: boolean

  /** Who chooses. */
  headMode?: HeadMode

  /** Entries kept for their sums. */
  heavy?: number

  /** `fresh`: survivors move to consecutive positions (the streaming variant). */
  positions?: Positions

  /** Last entries, always kept. */
  recent?: number
}

/** A layer keeps the entries that the newest token looks at most, on average over its heads. */
export interface TovaPolicy {
  kind: 'tova'

  /** Entries a layer keeps. */
  budget?: number
}

/** Every kv head keeps the entries whose keys are shortest; no query is needed. */
export interface KnormPolicy {
  kind: 'knorm'

  /** Entries a kv head keeps. */
  budget?: number
}

/** Every kv head keeps the entries whose keys are least like the mean of its keys; no query is needed. */
export interface KeyDiffPolicy {
  kind: 'keydiff'

  /** Entries a kv head keeps. */
  budget?: number
}

/** The first few and the most recent entries stay, whatever they say. */
export interface SinkWindowPolicy {
  kind: 'sinkwindow'

  /** Last entries that stay. */
  recent?: number

  /** First entries that stay. */
  sink?: number
}

/** Only the last token of each segment stays in the cache, in a model trained to put the segment into it. */
export interface AnLlmPolicy {
  kind: 'anllm'

  /** Token ids, `sentence` for the tokens that end a sentence, or the text of a token such as `<AC>`. */
  anchors?: AnchorSpec

  /** Last tokens of the prompt that stay. */
  last?: number

  /** Whether the question stays. */
  question?: boolean

  /** First tokens of the prompt that stay: stock models need some (attention sinks). */
  sinks?: number
}

/** A control: the pins and tokens drawn at random, read as a short prompt. */
export interface RandomPolicy {
  kind: 'random'

  /** Tokens to keep; none: 1024, or more if the pins need it. */
  budget?: Budget

  /** Tokens that are always kept. */
  pins?: Pins

  /** The draw. */
  seed?: number
}

/** A control: the pins and as many tokens from the beginning as from the end, read as a short prompt. */
export interface FirstLastPolicy {
  kind: 'firstlast'

  /** Tokens to keep; none: 1024, or more if the pins need it. */
  budget?: Budget

  /** Tokens that are always kept. */
  pins?: Pins
}

/** The name of a selection method. */
export type PolicyKind = Policy['kind']

/** The options of one selection method. */
export type PolicyOptions<K extends PolicyKind> = Omit<Extract<Policy, { kind: K }>, 'kind'>

/** The name of a published setting. */
export type PresetName =
  | 'gemfilter-paper'
  | 'promptdistill-paper'
  | 'snapkv-paper'
  | 'snapkv-gemfilter'
  | 'h2o-gemfilter'
  | 'h2o-upstream'
  | 'h2o-streaming'
  | 'anllm-paper'
