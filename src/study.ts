import type { Model as NativeModel, Study } from '#native'
import { emitWarning, guardCallback } from './callback.js'
import { fromNative } from './errors.js'
import { studyOf } from './model.js'
import { checkCallback, checkOptions, checkSignal, plain } from './options.js'
import type { Policy } from './policy-types.js'
import type { Model } from './types.js'

/** A file of cases; for `needle` the folder of text files that the published needle test hides its sentence in. */
export interface BenchmarkFile {
  /** Whose file it is. */
  format: 'longbench' | 'ruler' | 'infinitebench' | 'needle'
  /** The file or folder. */
  path: string
  /** The prompts of `longbench` or `infinitebench`, as the benchmark's repository has them; others have none. */
  templates?: string
  /** For `needle` alone: with the two flaws of the published harness. */
  asPublished?: boolean
}

/** Policies beside each other on tasks with known answers. Paths are the caller's. */
export interface EvaluationPlan {
  /** A text file to hide facts in; needed for `tasks`. */
  text?: string
  /** Names of tasks: needle, paraphrase, multikey, multivalue, multiquery, twohop, tracking, common, frequent, ... */
  tasks?: string[]
  /** Document lengths in tokens. */
  lengths?: number[]
  /** Cases of each task and length, or of each file; depths of each length of the needle test. */
  cases: number
  /** The first seed; default 0. */
  seed?: number
  /** What published benchmarks are made of. */
  files?: BenchmarkFile[]
  /** Nothing is answered: what policies keep is all that is measured, and filter passes are shared. */
  selectOnly?: boolean
  /** The one called `full`, which must be that policy, is what the others differ from; each name once. */
  policies: { name: string; policy: Policy | Bm25 }[]
  /**
   * The folder for records, summary, table and report. Records that are there are not measured again, and the summary
   * is of all of them. `ERR_INVALID_ARG` if they are of another model file, `kvDtype` or `text`, with the other
   * `selectOnly`, of a policy of the same name with other options, or of a file at the same path with another format or
   * other `templates`. Nothing else is compared: a case of another file that has the same id counts as measured.
   */
  output: string
}

/** The control that reads words only: the best sentences for the question, and everything around the document. */
export interface Bm25 {
  kind: 'bm25'
  /** Tokens to keep, or a share of the prompt. */
  budget: number | { ratio: number }
  /** Whether what is around the document counts towards the budget; default true. */
  chargeBudget?: boolean
}

/** How far an evaluation has come, in records. */
export interface EvaluationProgress {
  /** Records written or found. */
  done: number
  /** Records of the plan. */
  total: number
  /** The last record; null before the first. */
  last: { task: string; policy: string; length: number; score?: number; recall?: number; error?: string } | null
}

/** A mean with its 95 % interval, by bootstrap. */
export interface Mean {
  /** The mean. */
  mean: number
  /** The 2.5th percentile of the resampled means. */
  low: number
  /** The 97.5th percentile. */
  high: number
  /** Over how many values. */
  n: number
}

/** The means of some records of one policy, with 95 % intervals; differences are to `full` on the same cases. */
export interface EvaluationCell {
  /** Its name in the plan. */
  policy: string
  /** The task; absent for several. */
  task?: string
  /** The family of the tasks, where there is one. */
  family?: 'single' | 'several' | 'words' | 'continuation'
  /** Of documents, in tokens; 0 where a file does not say, absent for all. */
  length?: number
  /** Cases with a result. */
  cases: number
  /** Cases without. */
  errors: number
  /** The answers' score, 0 to 1. */
  score: Mean | null
  /** The score less that of `full`. */
  scoreDifference: Mean | null
  /** The share of the evidence that was kept. */
  recall: Mean | null
  /** The loss of the continuation less that of `full`, in nats a token. */
  lossDifference: Mean | null
  /** The share of the prompt that was kept. */
  kept: Mean | null
  /** Time to the first token, in milliseconds. */
  ttftMs: Mean | null
  /** The median over cases of `full`'s time to the first token divided by this one's. */
  speedup: number | null
  /** The passes over the prompt, those that only choose included, in milliseconds. */
  prefillMs: Mean | null
  /** The most memory that any case took. */
  peakBytes: number | null
}

/** The outcome of an evaluation; every task and length counts alike. */
export interface EvaluationSummary {
  /** Each policy over all tasks and lengths. */
  policies: EvaluationCell[]
  /** By length: over all tasks, and over those of each family. */
  groups: EvaluationCell[]
  /** By policy, task and length. */
  cells: EvaluationCell[]
}

/** What to calibrate on. */
export interface CalibrationPlan {
  /** A text file to hide facts in. */
  text: string
  /** What to call the profile. */
  name: string
  /** Document lengths in tokens; default 1000 and 2500. */
  lengths?: number[]
  /** Cases of each task and length to choose heads on, and as many to check them; default 3. */
  cases?: number
  /** The first seed; default 0. */
  seed?: number
  /** The share of the prompt that is read in the end; default 0.2. */
  keep?: number
  /** Prompts of fewer tokens shall be read whole; default 1024. */
  exactBelow?: number
}

/** How far a calibration has come, in steps of its phase. */
export interface CalibrationProgress {
  /** Heads are heard, chosen, and checked on new cases. */
  phase: 'listen' | 'choose' | 'check'
  /** Steps done. */
  done: number
  /** Steps of the phase. */
  total: number
}

/** What calibration found: ways to select, the cheapest first. `JSON.stringify` makes the file that `profile` takes. */
export interface Profile {
  /** As the plan has it. */
  name: string
  /** Which model it is for: its sizes, and the fingerprint of the file. */
  model: { layers: number; heads: number; hidden: number; vocab: number; fingerprint: string }
  /** Prompts of fewer tokens are read whole. */
  exactBelow: number
  /**
   * Ways to select: the policy, the evidence recall it has shown, and its operations as a share of full attention's.
   */
  settings: {
    name: string
    policy: Policy
    recall: { mean: number; low: number; high: number; cases: number }
    cost: number
  }[]
  /** How it was measured, and by which version. */
  calibration: { tasks: string[]; lengths: number[]; cases: number; seed: number; version: string }
}

/** Options of `evaluate` and `calibrate`; an unknown one is `ERR_INVALID_ARG`. */
export interface StudyOptions<P> {
  /**
   * Stops: an evaluation resolves with what is done, a calibration rejects with `signal.reason`. One that is aborted
   * already rejects both.
   */
  signal?: AbortSignal
  /** Called as it goes on. If it throws, it is reported by a process warning (`W_CALLBACK`) and called no more. */
  onProgress?: (progress: P) => void
}

/**
 * Runs an evaluation on a loaded model; other requests wait meanwhile. A wrong plan or file is `ERR_INVALID_ARG`, a folder
 * that cannot be written `ERR_STORAGE`.
 */
export function evaluate(
  model: Model,
  plan: EvaluationPlan,
  options: StudyOptions<EvaluationProgress> = {},
): Promise<EvaluationSummary> {
  return follow(model, plan, (native, json) => native.evaluate(json), options)
}

/** Calibrates a loaded model; other requests wait meanwhile. A wrong plan is `ERR_INVALID_ARG`. */
export function calibrate(
  model: Model,
  plan: CalibrationPlan,
  options: StudyOptions<CalibrationProgress> = {},
): Promise<Profile> {
  return follow(model, plan, (native, json) => native.calibrate(json), options)
}

async function follow<P, R>(
  model: Model,
  plan: object,
  start: (native: NativeModel, json: string) => Study,
  options: StudyOptions<P>,
): Promise<R> {
  checkOptions(options, ['signal', 'onProgress'])
  const { signal, onProgress } = options
  checkSignal(signal)
  checkCallback('onProgress', onProgress)
  signal?.throwIfAborted()
  const json = JSON.stringify(plain(plan, 'plan', { replaced: false }))
  const report = guardCallback('onProgress', onProgress, emitWarning)
  const study = studyOf(model, (native) => start(native, json))
  const stop = () => study.cancel()
  signal?.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop -- one piece of news after the other
      const news = JSON.parse((await study.next()) ?? 'null') as { progress: P } | { result: R } | null
      if (news === null) throw new Error('the work ended without a result')
      if ('result' in news) return news.result
      report(news.progress)
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw fromNative(error)
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}
