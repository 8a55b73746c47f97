import type { Event as NativeEvent, Run } from '#native'
import { guardCallback } from './callback.js'
import { deferred } from './deferred.js'
import { fromNative, SkimError } from './errors.js'
import { makeSelection } from './selection.js'
import type { SeamRequest } from './request.js'
import type { GenerateOptions, Generation, GenerationEvent, GenerationResult, PrefillProgress } from './types.js'
import type { Policy, Prompt, Selection, TextChunk, Warning } from './types.js'

/** What a generation needs of its request. */
type Asked = Pick<SeamRequest, 'prompt' | 'warnings'>
type Listeners = Pick<GenerateOptions, 'signal' | 'onPrefill'>

/**
 * One generation. Batches are pulled from the native run when somebody wants to know more: an iterator its next
 * event, `selection` the choice, `result` the end. Events that nobody has read yet wait in `#unread`.
 */
class PulledGeneration implements Generation {
  readonly #start: () => Run
  readonly #prompt: Prompt
  readonly #signal: AbortSignal | undefined
  readonly #onPrefill: (progress: PrefillProgress) => void
  readonly #warnings: Warning[]

  #run: Run | undefined
  #state: 'idle' | 'running' | 'ended' = 'idle'
  #failure: { error: unknown } | undefined
  #consumed = false
  #unread: GenerationEvent[] = []
  #chosen: Selection | null | undefined
  #pulling: Promise<void> | undefined
  readonly #ended = deferred<void>()
  readonly #result = deferred<GenerationResult>()
  readonly #selection = deferred<Selection | null>()

  constructor(start: () => Run, { prompt, warnings }: Asked, { signal, onPrefill }: Listeners) {
    this.#start = start
    this.#prompt = prompt
    this.#signal = signal
    this.#warnings = [...warnings]
    this.#onPrefill = guardCallback('onPrefill', onPrefill, (warning) => this.#warnings.push(warning))
  }

  get result(): Promise<GenerationResult> {
    void this.#pullUntil(() => false)
    return this.#result.promise
  }

  get selection(): Promise<Selection | null> {
    void this.#pullUntil(() => this.#chosen !== undefined)
    return this.#selection.promise
  }

  async text(): Promise<string> {
    return (await this.result).text
  }

  [Symbol.asyncIterator](): AsyncIterator<TextChunk> {
    return this.#chunks(this.#claim())
  }

  events(): AsyncIterable<GenerationEvent> {
    return this.#claim()
  }

  toReadableStream(): ReadableStream<string> {
    const chunks = this.#chunks(this.#claim())
    return new ReadableStream<string>(
      {
        async pull(controller) {
          const { done, value } = await chunks.next()
          if (done) controller.close()
          else controller.enqueue(value.text)
        },
        cancel: async () => {
          // An iteration that has not begun, or that waits for news of the prompt, does not see its own end.
          this.cancel()
          await chunks.return(undefined)
        },
      },
      // Nothing is pulled, and so nothing starts, before somebody reads.
      { highWaterMark: 0 },
    )
  }

  cancel(): void {
    if (this.#state === 'idle') this.#finish(neverStarted())
    else this.#run?.cancel()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
    await this.#pullUntil(() => false)
  }

  #claim(): AsyncGenerator<GenerationEvent, undefined> {
    if (this.#consumed) {
      const message =
        'This generation is being read already; await `result` for its whole text, or call `generate` again.'
      throw new SkimError('ERR_ALREADY_CONSUMED', message)
    }
    this.#consumed = true
    return this.#iterate()
  }

  async *#iterate(): AsyncGenerator<GenerationEvent, undefined> {
    try {
      for (;;) {
        for (let event = this.#unread.shift(); event; event = this.#unread.shift()) yield event
        if (this.#failure) throw this.#failure.error
        if (this.#state === 'ended') return
        await this.#pull()
      }
    } finally {
      // Leaving the loop is a cancel; the work has ended when the loop has been left.
      this.cancel()
      await this.#pullUntil(() => false)
    }
  }

  async *#chunks(events: AsyncGenerator<GenerationEvent, undefined>): AsyncGenerator<TextChunk, undefined> {
    for await (const event of events) {
      if (event.type !== 'text') continue
      const { type: _, ...chunk } = event
      yield chunk
    }
  }

  async #pullUntil(enough: () => boolean): Promise<void> {
    while (this.#state !== 'ended' && !enough()) await this.#pull()
  }

  /** Takes in one batch; whoever waits meanwhile waits for the same one. */
  #pull(): Promise<void> {
    return (this.#pulling ??= this.#takeBatch().finally(() => (this.#pulling = undefined)))
  }

  async #takeBatch(): Promise<void> {
    try {
      if (this.#state === 'idle') this.#begin()
      if (!this.#run) return
      const batch = await Promise.race([this.#run.next(), this.#ended.promise])
      if (!batch && this.#state === 'running')
        throw new SkimError('ERR_INTERNAL', 'The generation ended without a result.')
      for (const event of batch ?? []) this.#take(event)
    } catch (error) {
      this.#fail(fromNative(error))
    }
  }

  #begin(): void {
    this.#state = 'running'
    if (this.#signal?.aborted) return this.#fail(this.#signal.reason)
    this.#run = this.#start()
    this.#signal?.addEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => {
    this.#run?.abort()
    this.#fail(this.#signal?.reason)
  }

  #take({ prefill, selection, text, finish }: NativeEvent): void {
    if (this.#state === 'ended') return
    if (prefill) {
      this.#onPrefill(prefill)
      // Only the latest progress is worth keeping for a reader that is behind.
      if (this.#unread.at(-1)?.type === 'prefill') this.#unread.pop()
      this.#unread.push({ type: 'prefill', ...prefill })
    } else if (selection) {
      const policy = JSON.parse(selection.policy) as Policy
      const served = selection.served == null ? null : (JSON.parse(selection.served) as Policy)
      const chosen = makeSelection({ ...selection, policy, served }, this.#prompt)
      this.#choose(chosen)
      this.#unread.push({ type: 'selection', selection: chosen })
    } else if (text) {
      // A selection comes before all text or not at all.
      this.#choose(null)
      this.#unread.push({ type: 'text', ...text, tokenIds: Uint32Array.from(text.tokenIds) })
    } else if (finish) {
      this.#finish(JSON.parse(finish) as Omit<GenerationResult, 'selection'>)
    }
  }

  #choose(selection: Selection | null): void {
    if (this.#chosen !== undefined) return
    this.#chosen = selection
    this.#selection.resolve(selection)
  }

  #finish(outcome: Omit<GenerationResult, 'selection'>): void {
    this.#choose(null)
    const warnings = [...this.#warnings, ...outcome.warnings]
    const result: GenerationResult = { ...outcome, selection: this.#chosen ?? null, warnings }
    this.#unread.push({ type: 'finish', result })
    this.#result.resolve(result)
    this.#end()
  }

  #fail(error: unknown): void {
    if (this.#state === 'ended') return
    this.#failure = { error }
    this.#result.reject(error)
    this.#selection.reject(error)
    this.#end()
  }

  #end(): void {
    this.#state = 'ended'
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#run = undefined
    this.#ended.resolve()
  }
}

/** `start` queues the request natively; it is called at most once, and it keeps the model alive. */
export function makeGeneration(start: () => Run, asked: Asked, listeners: Listeners): Generation {
  return new PulledGeneration(start, asked, listeners)
}

function neverStarted(): Omit<GenerationResult, 'selection'> {
  return {
    text: '',
    finishReason: 'cancelled',
    usage: { promptTokens: 0, keptTokens: 0, cachedTokens: 0, newTokens: 0, truncatedTokens: 0 },
    timings: {
      queueMs: 0,
      tokenizeMs: 0,
      filterMs: 0,
      selectMs: 0,
      prefillMs: 0,
      ttftMs: 0,
      decodeMs: 0,
      tokensPerSecond: 0,
    },
    memory: { peakBytes: 0, kvBytes: 0, layerEntries: [] },
    warnings: [],
  }
}
