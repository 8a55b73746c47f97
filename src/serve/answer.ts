import type { GenerationResult } from '../types.js'
import type { Ask } from './ask.js'

const finishReasons = { stop: 'stop', 'stop-string': 'stop', length: 'length', cancelled: 'stop' } as const

/** Writes the objects of one answer in the words of the OpenAI interface. */
export class Answer {
  readonly #ask: Ask
  readonly #head: { id: string; created: number; model: string }

  constructor(ask: Ask, id: string, model: string) {
    this.#ask = ask
    this.#head = { id, created: Math.floor(Date.now() / 1000), model }
  }

  whole(result: GenerationResult): object {
    const { text } = result
    const said = this.#ask.kind === 'chat' ? { message: { role: 'assistant', content: text } } : { text }
    const choices = [{ index: 0, ...said, finish_reason: finishReasons[result.finishReason], logprobs: null }]
    return { ...this.#head, object: this.#object(''), choices, usage: usage(result), ...this.#selection(result) }
  }

  /** The first piece of a chat names the role. */
  piece(text: string, first: boolean): object {
    const role = first ? { role: 'assistant' } : {}
    return this.#chunk(this.#ask.kind === 'chat' ? { delta: { ...role, content: text } } : { text }, null)
  }

  /** `first` where there was no piece before it. */
  last(result: GenerationResult, first: boolean): object {
    const empty = this.#ask.kind === 'chat' ? { delta: first ? { role: 'assistant' } : {} } : { text: '' }
    return { ...this.#chunk(empty, finishReasons[result.finishReason]), ...this.#selection(result) }
  }

  usage(result: GenerationResult): object {
    return { ...this.#head, object: this.#object('.chunk'), choices: [], usage: usage(result) }
  }

  #chunk(said: object, finish: string | null): object {
    const choices = [{ index: 0, ...said, finish_reason: finish, logprobs: null }]
    return { ...this.#head, object: this.#object('.chunk'), choices }
  }

  /** A streamed chat has an object name of its own, a streamed text has not. */
  #object(suffix: string): string {
    return this.#ask.kind === 'chat' ? `chat.completion${suffix}` : 'text_completion'
  }

  #selection({ selection }: GenerationResult): object {
    return this.#ask.selection ? { selection: selection?.toJSON() ?? null } : {}
  }
}

function usage({ usage: { promptTokens, newTokens, cachedTokens, keptTokens } }: GenerationResult): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: newTokens,
    total_tokens: promptTokens + newTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens, kept_tokens: keptTokens },
  }
}
