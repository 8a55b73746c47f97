import { once } from 'node:events'
import { get } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { loadModel } from '../index.js'
import { serve } from '../src/serve/server.js'
import { start } from './command.js'
import { tinyModel } from './tiny.js'

const model = await loadModel(await tinyModel('positions=4096'))
const server = serve(Promise.resolve(model), { name: 'tiny' })
const url = await listen(server)
test.after.always(async () => {
  server.close()
  server.closeAllConnections()
  await model.dispose()
})

async function listen(of: typeof server): Promise<string> {
  of.listen(0, '127.0.0.1')
  await once(of, 'listening')
  return `http://127.0.0.1:${(of.address() as AddressInfo).port}`
}

function post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify(body), ...init })
}

// oxlint-disable-next-line typescript/no-explicit-any -- foreign JSON
type Json = any

async function events(response: Response): Promise<string[]> {
  const parts = (await response.text()).split('\n\n').filter((part) => part.startsWith('data: '))
  return parts.map((part) => part.slice(6))
}

const messages = [
  { role: 'system', content: 'Be short.' },
  {
    role: 'user',
    content: [
      { type: 'text', text: 'the of ' },
      { type: 'text', text: 'in' },
    ],
  },
]

test('a chat, whole and in pieces, says the same as the library', async (t) => {
  const chat = { model: 'tiny', messages, max_tokens: 6, temperature: 0, policy: 'full' }
  const whole: Json = await (await post('/v1/chat/completions', chat)).json()
  const plain = [
    { role: 'system' as const, content: 'Be short.' },
    { role: 'user' as const, content: 'the of in' },
  ]
  const { text, usage } = await model.generate(plain, { policy: { kind: 'full' }, maxNewTokens: 6 }).result
  t.is(whole.object, 'chat.completion')
  t.deepEqual(whole.choices[0].message, { role: 'assistant', content: text })
  t.is(whole.usage.prompt_tokens, usage.promptTokens)
  t.is(whole.usage.prompt_tokens_details.kept_tokens, usage.keptTokens)
  t.false('selection' in whole)

  const response = await post('/v1/chat/completions', {
    ...chat,
    stream: true,
    stream_options: { include_usage: true },
  })
  t.regex(response.headers.get('content-type') ?? '', /^text\/event-stream/)
  const data = await events(response)
  t.is(data.at(-1), '[DONE]')
  const chunks: Json[] = data.slice(0, -1).map((part) => JSON.parse(part))
  t.deepEqual([...new Set(chunks.map((chunk) => chunk.object))], ['chat.completion.chunk'])
  t.is(chunks[0].choices[0].delta.role, 'assistant')
  t.is(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), text)
  t.is(chunks.at(-2).choices[0].finish_reason, whole.choices[0].finish_reason)
  t.deepEqual(chunks.at(-1).usage, whole.usage)

  const [stop] = text
  const silent = await events(await post('/v1/chat/completions', { ...chat, stop, stream: true }))
  t.deepEqual(
    silent.slice(0, -1).map((part) => (JSON.parse(part) as Json).choices[0].delta),
    [{ role: 'assistant' }],
  )
})

test('a text goes on, and a selection comes on request', async (t) => {
  const prompt = 'the of in to a '.repeat(40)
  const policy = { kind: 'gemfilter', budget: 60 }
  const body = { prompt: [prompt], max_tokens: 3, policy, selection: true }
  const whole: Json = await (await post('/v1/completions', body)).json()
  t.is(whole.object, 'text_completion')
  t.is(typeof whole.choices[0].text, 'string')
  t.is(whole.selection.indices.length, 60)
  t.is(whole.usage.prompt_tokens_details.kept_tokens, 60)
  const data = await events(await post('/v1/completions', { ...body, stream: true }))
  t.deepEqual(JSON.parse(data.at(-2)!).selection, whole.selection)
})

const asked = [{ role: 'user', content: 'a' }]
const bad: [string, unknown, number, Record<string, unknown>][] = [
  ['/v1/chat/completions', { messages: [] }, 400, { code: 'ERR_EMPTY_PROMPT' }],
  ['/v1/chat/completions', { messages: [{ role: 'tool', content: 'a' }] }, 400, { param: 'messages.0.role' }],
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 5 }] }, 400, { param: 'messages.0.content' }],
  ['/v1/chat/completions', { messages: asked, tools: [{ type: 'function' }] }, 400, { param: 'tools' }],
  ['/v1/chat/completions', { messages: asked, n: 2 }, 400, { param: 'n', type: 'invalid_request_error' }],
  ['/v1/chat/completions', { messages: asked, frequency_penalty: 1.5 }, 400, { param: 'frequency_penalty' }],
  ['/v1/chat/completions', { messages: asked, presence_penalty: -1 }, 400, { param: 'presence_penalty' }],
  ['/v1/completions', { prompt: 'a', suffix: 'b' }, 400, { param: 'suffix' }],
  ['/v1/chat/completions', { messages: asked, top_p: 2 }, 400, { code: 'ERR_INVALID_ARG' }],
  ['/v1/chat/completions', { messages: asked, policy: 'gemfiltre' }, 400, { param: 'policy.kind' }],
  ['/v1/chat/completions', { messages: asked, policy: { kind: 'gemfiltre' } }, 400, { code: 'ERR_INVALID_ARG' }],
  ['/v1/chat/completions', { messages: asked, model: 'gpt' }, 404, { code: 'model_not_found' }],
  ['/v1/completions', { prompt: ['a', 'b'] }, 400, { param: 'prompt' }],
  ['/v1/embeddings', {}, 404, { code: null }],
]
for (const [path, body, status, error] of bad) {
  test(`refused: ${path} ${JSON.stringify(body)}`, async (t) => {
    const response = await post(path, body)
    t.is(response.status, status)
    t.like(((await response.json()) as Json).error, error)
  })
}

test('a prompt that is too long says by how much, in a stream as well', async (t) => {
  for (const stream of [false, true]) {
    const response = await post('/v1/completions', { prompt: 'the of in '.repeat(5000), stream })
    t.is(response.status, 400)
    const { error }: Json = await response.json()
    t.like(error, { type: 'exceed_context_size_error', n_ctx: 4096 })
    t.true(error.n_prompt_tokens > 4096)
  }
})

test('what is no JSON, no object, too large or no POST', async (t) => {
  const path = '/v1/chat/completions'
  for (const body of ['{"messages": ', '[]', 'null'])
    t.is((await fetch(url + path, { method: 'POST', body })).status, 400, body)
  t.is((await fetch(url + path)).status, 405)
  t.is((await fetch(`${url}/v1/models`, { method: 'POST', body: '{}' })).status, 405)
  t.is((await fetch(url + path, { method: 'POST', body: Buffer.alloc((64 << 20) + 1, ' ') })).status, 413)
})

test('unknown fields and null are ignored', async (t) => {
  const neutral = { tools: [], response_format: { type: 'text' }, presence_penalty: 0, frequency_penalty: 0 }
  const body = { messages, max_tokens: 1, user: 'me', stop: null, ...neutral }
  t.is((await post('/v1/chat/completions', body)).status, 200)
})

test('a client that leaves frees the model', async (t) => {
  const leaving = new AbortController()
  // A reward for repeating itself keeps a random model from ever finding its end token.
  const endless = { prompt: 'the of in', max_tokens: 4000, repetition_penalty: 0.1, stream: true }
  const response = await post('/v1/completions', endless, { signal: leaving.signal })
  await response.body!.getReader().read()
  leaving.abort()
  const next: Json = await (await post('/v1/completions', { prompt: 'the', max_tokens: 1 })).json()
  t.is(next.usage.completion_tokens, 1)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.regex(metrics, /^skimlm_requests_total\{status="499"\} 1$/m)
  t.regex(metrics, /^skimlm_requests_total\{status="200"\} \d+$/m)
  t.regex(metrics, /^# TYPE skimlm_new_tokens_total counter\nskimlm_new_tokens_total \d+$/m)
})

test('models are listed; a server says when it is ready; a key is asked for', async (t) => {
  const { data }: Json = await (await fetch(`${url}/v1/models`)).json()
  t.deepEqual(data, [{ id: 'tiny', object: 'model', owned_by: 'skimlm' }])
  const locked = serve(new Promise(() => {}), { name: 'tiny', apiKey: 'secret' })
  const at = await listen(locked)
  t.is((await fetch(`${at}/health`)).status, 503)
  t.is((await fetch(`${at}/v1/models`)).status, 401)
  const headers = { authorization: 'Bearer secret' }
  t.is((await fetch(`${at}/v1/models`, { headers })).status, 200)
  const early = await fetch(`${at}/v1/completions`, { method: 'POST', body: '{"prompt": "a"}', headers })
  t.deepEqual([early.status, early.headers.get('retry-after')], [503, '1'])
  t.is((await fetch(`${url}/health`)).status, 200)
  locked.close()
})

test('a page of another host cannot reach a server on this machine', async (t) => {
  const status = (host: string, path = '/v1/models') =>
    new Promise((resolve) => get(url + path, { headers: { host } }, (response) => resolve(response.statusCode)))
  t.is(await status('evil.example:80'), 403)
  t.is(await status('evil.example:80', '/health'), 403)
  t.is(await status('LOCALHOST:1'), 200)
  t.is(await status('[::1]'), 200)
})

test('the command says where it listens and ends on Ctrl-C', async (t) => {
  const child = start(['serve', await tinyModel(), '--port', '0'])
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const { status }: Json = await (await fetch(`${line.toString().trim()}/health`)).json()
  t.is(status, 'ok')
  child.kill('SIGINT')
  t.deepEqual(await once(child, 'exit'), [130, null])
})
