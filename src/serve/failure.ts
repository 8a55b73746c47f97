import { SkimError } from '../errors.js'

/** A failure as HTTP and the OpenAI interface say it. */
export interface Failure {
  status: number
  error: { message: string; type: string; code: string | null; param: string | null; [more: string]: unknown }
}

export function failure(status: number, message: string, code: string | null = null): Failure {
  const type = status === 401 ? 'authentication_error' : status < 500 ? 'invalid_request_error' : 'server_error'
  return { status, error: { message, type, code, param: null } }
}

/** What the caller can mend is a 400, what passes by itself a 503. */
export function toFailure(thrown: unknown): Failure {
  if (!(thrown instanceof SkimError)) return failure(500, 'The server failed.', 'ERR_INTERNAL')
  const { code, message, details } = thrown
  const known = failure(status(code), message, code)
  if (code === 'ERR_CONTEXT_OVERFLOW')
    Object.assign(known.error, {
      type: 'exceed_context_size_error',
      n_prompt_tokens: details['promptTokens'],
      n_ctx: details['limit'],
    })
  if (typeof details['option'] === 'string') known.error.param = details['option']
  return known
}

function status(code: SkimError['code']): number {
  switch (code) {
    case 'ERR_INVALID_ARG':
    case 'ERR_EMPTY_PROMPT':
    case 'ERR_CONTEXT_OVERFLOW':
    case 'ERR_POLICY_UNSUPPORTED':
    case 'ERR_CHAT_TEMPLATE':
      return 400
    case 'ERR_BUSY':
    case 'ERR_OUT_OF_MEMORY':
    case 'ERR_DISPOSED':
      return 503
    default:
      return 500
  }
}
