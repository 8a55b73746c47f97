import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import { SkimError } from '../errors.js'
import type { Model, Policy } from '../types.js'
import { Answer } from './answer.js'
import { type Ask, readAsk } from './ask.js'
import { type Failure, failure, toFailure } from './failure.js'
import { Metrics } from './metrics.js'

/** Larger bodies are refused; the library itself takes 512 MiB of text. */
const MAX_BODY_BYTES = 64 << 20
/** Proxies give up on a silent connection; a comment in the stream keeps it open while a prompt is read. */
const PING_MS = 10_000

export interface ServeOptions {
  /** The name that clients use. */
  name: string
  /** For requests that name none. */
  policy?: Policy
  /** Asked for as a bearer token, where there is one. */
  apiKey?: string
}

/**
 * An OpenAI-compatible server over one model: `v1/chat/completions`, `v1/completions`, `v1/models`, `health` and `metrics`.
 * It answers `health` with 503 until the model is there. A client that leaves cancels its request.
 */
export function serve(loading: Promise<Model>, options: ServeOptions): Server {
  const metrics = new Metrics()
  let model: Model | undefined
  let broken = false
  loading.then(
    (loaded) => (model = loaded),
    () => (broken = true),
  )
  const server = createServer((request, response) => {
    route(request, response).catch((error: unknown) => {
      if (!response.headersSent) refuse(response, toFailure(error))
      else response.destroy()
    })
  })
  return server

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split('?', 1)[0] ?? '/'
    if (rebound(request))
      return refuse(response, failure(403, 'This server is for requests to this machine by its own name.'))
    if (path === '/health')
      return json(response, model ? 200 : 503, { status: model ? 'ok' : broken ? 'error' : 'loading' })
    if (!allowed(request, options.apiKey))
      return refuse(response, failure(401, 'The bearer token is missing or wrong.'))
    if (path === '/metrics') return plain(response, String(metrics))
    if (path === '/v1/models') {
      if (request.method !== 'GET') return refuse(response, failure(405, `${path} takes GET.`))
      const own = { id: options.name, object: 'model', owned_by: 'skimlm' }
      return json(response, 200, { object: 'list', data: [own] })
    }
    const kind = ({ '/v1/chat/completions': 'chat', '/v1/completions': 'text' } as const)[path]
    if (kind === undefined) return refuse(response, failure(404, `There is no ${path}.`))
    if (request.method !== 'POST') return refuse(response, failure(405, `${path} takes POST.`))
    metrics.begin()
    try {
      await answer(kind, request, response)
    } catch (error) {
      if (response.headersSent || response.destroyed) throw error
      refuse(response, toFailure(error))
    } finally {
      // 499: the client has left, as proxies count it.
      metrics.end(response.writableEnded ? response.statusCode : 499)
    }
  }

  async function answer(kind: Ask['kind'], request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!model) return refuse(response, failure(503, 'The model is being loaded.', 'loading'))
    const body = await read(request)
    if (body === null) {
      // What is still coming is not read.
      response.setHeader('connection', 'close')
      return refuse(response, failure(413, `The body has more than ${MAX_BODY_BYTES} bytes.`))
    }
    const asked = parse(body)
    const wanted = (asked as { model?: unknown } | null)?.model
    if (wanted !== undefined && wanted !== options.name)
      return refuse(
        response,
        failure(404, `There is no model ${String(wanted)} here; it is ${options.name}.`, 'model_not_found'),
      )
    const ask = readAsk(kind, asked, options.policy)
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const generation = model.generate(ask.prompt, { ...ask.options, signal: gone.signal })
    const words = new Answer(ask, `${kind === 'chat' ? 'chatcmpl' : 'cmpl'}-${randomUUID()}`, options.name)
    try {
      if (ask.stream) await stream(ask, generation, words, response, gone.signal)
      else json(response, 200, words.whole(await generation.result))
      metrics.answered(await generation.result)
    } catch (error) {
      if (!gone.signal.aborted) throw error
    }
  }
}

async function stream(
  ask: Ask,
  generation: ReturnType<Model['generate']>,
  words: Answer,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  let ping: NodeJS.Timeout | undefined
  const send = async (data: object | string) => {
    if (!response.headersSent) begin(response)
    const text = typeof data === 'string' ? data : JSON.stringify(data)
    if (!response.write(`data: ${text}\n\n`)) await once(response, 'drain', { signal })
  }
  try {
    let first = true
    for await (const event of generation.events()) {
      // The prompt has been accepted: what fails from here on fails inside the stream.
      if (event.type === 'prefill' && !ping) {
        begin(response)
        ping = setInterval(() => response.write(': reading\n\n'), PING_MS)
      }
      if (event.type !== 'text') continue
      clearInterval(ping)
      await send(words.piece(event.text, first))
      first = false
    }
    const result = await generation.result
    await send(words.last(result, first))
    if (ask.includeUsage) await send(words.usage(result))
    await send('[DONE]')
    response.end()
  } catch (error) {
    if (!response.headersSent || signal.aborted) throw error
    await send({ error: toFailure(error).error })
    response.end()
  } finally {
    clearInterval(ping)
  }
}

function begin(response: ServerResponse): void {
  if (response.headersSent) return
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
  response.flushHeaders()
}

/** Whether a page of some other host has had its name point here, to reach what listens on this machine alone. */
function rebound({ headers, socket }: IncomingMessage): boolean {
  const local = /^(::ffff:)?127\.|^::1$/.test(socket.localAddress ?? '')
  return local && !/^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/i.test(headers.host ?? 'localhost')
}

/** Both sides hashed, so that the comparison takes the same time whatever their lengths. */
function allowed({ headers }: IncomingMessage, apiKey: string | undefined): boolean {
  if (apiKey === undefined) return true
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(headers.authorization ?? ''), hash(`Bearer ${apiKey}`))
}

async function read(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = []
  let size = 0
  // Leaving the loop must not close the connection before the refusal is out.
  for await (const part of request.iterator({ destroyOnReturn: false })) {
    size += (part as Buffer).length
    if (size > MAX_BODY_BYTES) return null
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch (error) {
    throw new SkimError('ERR_INVALID_ARG', `The body is not JSON: ${(error as Error).message}.`)
  }
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(`${JSON.stringify(body)}\n`)
}

function plain(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body)
}

function refuse(response: ServerResponse, { status, error }: Failure): void {
  if (status === 503) response.setHeader('retry-after', '1')
  json(response, status, { error })
}
