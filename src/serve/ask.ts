import { SkimError, invalidOption } from '../errors.js'
import { parsePolicy } from '../policy.js'
import type { ChatMessage, GenerateOptions, Policy, Prompt } from '../types.js'

/** A request of the OpenAI interface in our words. */
export interface Ask {
  kind: 'chat' | 'text'
  prompt: Prompt
  options: GenerateOptions
  stream: boolean
  /** Whether a stream ends with the numbers of tokens. */
  includeUsage: boolean
  /** Whether the answer shall say which tokens were read. */
  selection: boolean
}

type Body = Record<string, unknown>

/** Known fields that would change the answer and that we do not have; what is not known is ignored. */
const unsupported: Record<string, (value: unknown) => boolean> = {
  n: (value) => value !== 1,
  best_of: (value) => value !== 1,
  tools: (value) => !Array.isArray(value) || value.length > 0,
  functions: (value) => !Array.isArray(value) || value.length > 0,
  response_format: (value) => (value as { type?: unknown } | null)?.type !== 'text',
  logprobs: (value) => value !== false && value !== 0,
  echo: (value) => value !== false,
  suffix: (value) => value !== '',
  frequency_penalty: (value) => value !== 0,
  presence_penalty: (value) => value !== 0,
  logit_bias: (value) => typeof value !== 'object' || Object.keys(value ?? {}).length > 0,
}

/** Reads `POST /v1/chat/completions` (`chat`) or `/v1/completions`; `policy` is the server's own default. */
export function readAsk(kind: Ask['kind'], body: unknown, policy: Policy | undefined): Ask {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw invalidOption('body', body, 'a JSON object')
  const fields = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)) as Body
  for (const [field, refuses] of Object.entries(unsupported))
    if (field in fields && refuses(fields[field])) throw invalidOption(field, JSON.stringify(fields[field]), 'left out')
  const asked = typeof fields['policy'] === 'string' ? parsePolicy(fields['policy']) : (fields['policy'] as Policy)
  const { stop } = fields
  const options = {
    policy: asked ?? policy,
    maxNewTokens: fields['max_completion_tokens'] ?? fields['max_tokens'],
    temperature: fields['temperature'],
    topP: fields['top_p'],
    topK: fields['top_k'],
    minP: fields['min_p'],
    repetitionPenalty: fields['repetition_penalty'],
    seed: fields['seed'],
    stop: typeof stop === 'string' ? [stop] : stop,
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return {
    kind,
    prompt: kind === 'chat' ? messages(fields['messages']) : text(fields['prompt']),
    options: Object.fromEntries(given) as GenerateOptions,
    stream: fields['stream'] === true,
    includeUsage: (fields['stream_options'] as Body | undefined)?.['include_usage'] === true,
    selection: fields['selection'] === true,
  }
}

function text(prompt: unknown): string {
  if (Array.isArray(prompt) && prompt.length === 1) return text(prompt[0])
  if (typeof prompt !== 'string') throw invalidOption('prompt', prompt, 'a string')
  return prompt
}

function messages(list: unknown): ChatMessage[] {
  if (!Array.isArray(list)) throw invalidOption('messages', list, 'a list of messages')
  if (list.length === 0) throw new SkimError('ERR_EMPTY_PROMPT', 'There are no messages.')
  return list.map((message: Body | null, i) => {
    const role = message?.['role'] === 'developer' ? 'system' : message?.['role']
    if (role !== 'system' && role !== 'user' && role !== 'assistant')
      throw invalidOption(`messages.${i}.role`, role, 'system, user or assistant')
    return { role, content: content(message?.['content'], i) }
  })
}

/** A string, or a list of parts that are all text. */
function content(value: unknown, i: number): string {
  if (typeof value === 'string') return value
  const parts = Array.isArray(value)
    ? (value as Body[]).map((part) => (part?.['type'] === 'text' ? part['text'] : null))
    : []
  if (parts.length === 0 || parts.some((part) => typeof part !== 'string'))
    throw invalidOption(`messages.${i}.content`, JSON.stringify(value), 'a string or a list of text parts')
  return parts.join('')
}
