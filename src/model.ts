import { debuglog } from 'node:util'
import * as threads from 'node:worker_threads'
import type { Model as NativeModel, Prepared, Study } from '#native'
import { emitWarning } from './callback.js'
import { invalidOption, SkimError } from './errors.js'
import { makeGeneration } from './generation.js'
import { call } from './native.js'
import { checkOptions } from './options.js'
import { type SeamRequest, toRequest } from './request.js'
import { makeTokenizer } from './tokenizer.js'
import type { DeviceInfo, GenerateOptions, Generation, Model, ModelInfo, Prompt } from './types.js'
import type { SelectOptions, Selection, Tokenizer } from './types.js'

const debug = debuglog('skimlm')

/** Frees models that were forgotten. */
const forgotten = new FinalizationRegistry<NativeModel>((native) => {
  debug('a model was collected that nobody had disposed of; call `dispose` or use `await using`')
  void native.dispose()
})

class LoadedModel implements Model {
  #native: NativeModel | undefined
  #disposing: Promise<void> | undefined
  readonly info: ModelInfo
  readonly device: DeviceInfo
  readonly tokenizer: Tokenizer

  constructor(native: NativeModel) {
    this.#native = native
    this.info = JSON.parse(call(() => native.info())) as ModelInfo
    this.device = JSON.parse(call(() => native.device())) as DeviceInfo
    this.tokenizer = makeTokenizer(() => this.#live())
    forgotten.register(this, native, this)
    // A model posted to another thread would arrive there as `{}`.
    const { markAsUncloneable } = threads as { markAsUncloneable?: (object: object) => void }
    markAsUncloneable?.(this)
  }

  static study(model: Model, start: (native: NativeModel) => Study): Study {
    if (!(model instanceof LoadedModel)) throw invalidOption('model', model, 'what `loadModel` returned')
    return call(() => start(model.#live()))
  }

  get disposed(): boolean {
    return this.#native === undefined
  }

  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return this.#prepare(prompt, options)
  }

  async select(prompt: Prompt, options: SelectOptions = {}): Promise<Selection> {
    checkOptions(options, ['policy', 'scores', 'signal'])
    const { scores = 'kept', signal } = options
    const policy = options.policy ?? { kind: 'gemfilter' }
    if (scores !== 'kept' && scores !== 'all') throw invalidOption('scores', scores, '"kept" or "all"')
    if (policy.kind === 'full') throw invalidOption('policy.kind', policy.kind, 'a policy that selects')
    const extra = { selectOnly: true, allScores: scores === 'all' }
    const generation = this.#prepare(prompt, { policy, ...(signal ? { signal } : {}) }, extra)
    const { selection, warnings } = await generation.result
    warnings.forEach(emitWarning)
    if (!selection) throw new SkimError('ERR_INTERNAL', `The policy ${policy.kind} reported no selection.`)
    return selection
  }

  dispose(): Promise<void> {
    return (this.#disposing ??= this.#dispose())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  #prepare(
    prompt: Prompt,
    options: GenerateOptions,
    extra: { selectOnly?: boolean; allScores?: boolean } = {},
  ): Generation {
    const native = this.#live()
    const request = toRequest(prompt, options, extra)
    const prepared = prepare(native, request)
    const start = () => {
      this.#live()
      return prepared.start()
    }
    // The rest of the request, its JSON above all, need not outlive this call.
    const { prompt: read, warnings } = request
    return makeGeneration(start, { prompt: read, warnings }, options)
  }

  #live(): NativeModel {
    if (this.#native) return this.#native
    throw new SkimError('ERR_DISPOSED', 'The model has been disposed of; load it again.')
  }

  async #dispose(): Promise<void> {
    const native = this.#native
    this.#native = undefined
    forgotten.unregister(this)
    await native?.dispose()
  }
}

function prepare(native: NativeModel, { json, tokens, forced }: SeamRequest): Prepared {
  return call(() => native.prepare(json, tokens, forced))
}

/** Starts work that uses the model directly. */
export function studyOf(model: Model, start: (native: NativeModel) => Study): Study {
  return LoadedModel.study(model, start)
}

export function makeModel(native: NativeModel): Model {
  return new LoadedModel(native)
}
