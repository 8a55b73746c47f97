import type { GenerationResult } from '../types.js'

/** Counters since the start, as Prometheus reads them. */
export class Metrics {
  #requests = new Map<number, number>()
  #running = 0
  #prompt = 0
  #kept = 0
  #written = 0
  #ttftSeconds = 0
  #answers = 0

  begin(): void {
    this.#running += 1
  }

  end(status: number): void {
    this.#running -= 1
    this.#requests.set(status, (this.#requests.get(status) ?? 0) + 1)
  }

  answered({ usage, timings }: GenerationResult): void {
    this.#answers += 1
    this.#prompt += usage.promptTokens
    this.#kept += usage.keptTokens
    this.#written += usage.newTokens
    this.#ttftSeconds += timings.ttftMs / 1000
  }

  toString(): string {
    const byStatus = [...this.#requests].map(([status, n]) => `skimlm_requests_total{status="${status}"} ${n}`)
    return [
      ...about('skimlm_requests_total', 'counter', 'Requests for an answer, by HTTP status.', byStatus),
      ...single('skimlm_requests_running', 'gauge', 'Requests waiting or being answered.', this.#running),
      ...single('skimlm_prompt_tokens_total', 'counter', 'Tokens of prompts.', this.#prompt),
      ...single('skimlm_kept_tokens_total', 'counter', 'Tokens of prompts that were kept.', this.#kept),
      ...single('skimlm_new_tokens_total', 'counter', 'Tokens written.', this.#written),
      ...about('skimlm_first_token_seconds', 'summary', 'Time to the first token.', [
        `skimlm_first_token_seconds_sum ${this.#ttftSeconds}`,
        `skimlm_first_token_seconds_count ${this.#answers}`,
      ]),
      '',
    ].join('\n')
  }
}

function single(name: string, type: string, help: string, value: number): string[] {
  return about(name, type, help, [`${name} ${value}`])
}

function about(name: string, type: string, help: string, lines: string[]): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines]
}
