import { SkimError } from '../errors.js'

/** A failure worth another try: no connection, a dropped one, a busy server. */
export class Interrupted extends Error {
  /** No response came at all. */
  unreachable = false
  retryAfterMs: number | undefined
}

export interface Request {
  url: string
  token?: string | undefined
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
  /** Time allowed until the response's head is there. */
  connectMs: number
}

/** Fetches the head of a response. The body stays under `signal` alone: a long download is not a slow server. */
export async function request(r: Request): Promise<Response> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), r.connectMs)
  const headers: Record<string, string> = { 'user-agent': 'skimlm', ...r.headers }
  // fetch drops this header when a redirect leaves the hub's origin, so it never reaches a CDN.
  if (r.token) headers['authorization'] = `Bearer ${r.token}`
  try {
    return await fetch(r.url, { headers, signal: r.signal ? AbortSignal.any([r.signal, late.signal]) : late.signal })
  } catch (error) {
    r.signal?.throwIfAborted()
    if (error instanceof TypeError && (error.cause as { code?: string })?.code === 'ERR_INVALID_URL')
      throw badUrl(r.url)
    const failure = new Interrupted(late.signal.aborted ? `no answer within ${r.connectMs} ms` : reasonOf(error))
    failure.unreachable = true
    throw failure
  } finally {
    clearTimeout(timer)
  }
}

/** Turns a status that carries no file into the error or the `Interrupted` it means. */
export async function statusError(response: Response, url: string): Promise<Error> {
  await response.body?.cancel().catch(() => {})
  const { status } = response
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const busy = new Interrupted(`status ${status}`)
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
    if (Number.isFinite(seconds)) busy.retryAfterMs = Math.min(seconds, 60) * 1000
    return busy
  }
  const said =
    status === 401 || status === 403
      ? 'The model may be gated or private: accept its terms on the hub and pass `hubToken` (environment: HF_TOKEN).'
      : status === 404
        ? 'Check the name, the file and the revision.'
        : 'Check the hub endpoint.'
  return new SkimError('ERR_HUB', `The hub answered ${status} for ${url}. ${said}`, { status, url })
}

export function unreachable(url: string, failure: Interrupted, attempts: number): SkimError {
  const busy = /^status (\d+)$/.exec(failure.message)
  return new SkimError(
    'ERR_HUB',
    `${url} could not be fetched: ${failure.message}, ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}. ` +
      'Run it again to resume, set `hubEndpoint` (environment: HF_ENDPOINT) to a mirror, or pass the path of a local GGUF file.',
    { url, attempts, reason: failure.message, ...(busy ? { status: Number(busy[1]) } : {}) },
    { cause: failure },
  )
}

export function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } }
  return cause?.code ?? cause?.message ?? message ?? String(error)
}

function badUrl(url: string): SkimError {
  return new SkimError(
    'ERR_INVALID_ARG',
    `The address ${url} is not a URL; check \`hubEndpoint\` (environment: HF_ENDPOINT) or PIP_INDEX_URL, whichever is in it.`,
    { option: 'hubEndpoint', value: url, expected: 'a URL such as https://host' },
  )
}
