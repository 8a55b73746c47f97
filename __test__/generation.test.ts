import test from 'ava'
import { getEventListeners } from 'node:events'
import { type Generation, type GenerationEvent, type Model, SkimError, loadModel } from '../index.js'
import { tinyModel } from './tiny.js'

let model: Model
/** Room for prompts that take long enough to be interrupted. */
let long: Model

test.before(async () => {
  ;[model, long] = await Promise.all([
    tinyModel().then((path) => loadModel(path)),
    tinyModel('positions=262144').then((path) => loadModel(path)),
  ])
})

test.after.always(async () => {
  await Promise.all([model?.dispose(), long?.dispose()])
})

const words = (count: number) => Array.from({ length: count }, (_, i) => `the ${i % 7} of`).join(' ')

/** Aborts or cancels at the first news of the prompt. */
const once = (work: () => void) => {
  let done = false
  return () => {
    if (!done) work()
    done = true
  }
}

async function chunksOf(generation: Generation): Promise<string[]> {
  const all: string[] = []
  for await (const chunk of generation) all.push(chunk.text)
  return all
}

test('chunks, text and result are the same text', async (t) => {
  const options = { maxNewTokens: 60 }
  const generation = model.generate('the of in', options)
  const chunks: string[] = []
  let ids = 0
  for await (const chunk of generation) {
    chunks.push(chunk.text)
    ids += chunk.tokenIds.length
    t.true(chunk.logprob! <= 0)
  }
  const result = await generation.result
  t.is(chunks.join(''), result.text)
  t.true(ids > 0 && ids <= result.usage.newTokens)
  t.is(await model.generate('the of in', options).text(), result.text)
  t.deepEqual(result.selection?.served, { kind: 'full' })
  t.is((await generation.selection)?.indices.length, result.usage.promptTokens)
  const full = await model.generate('the of in', { ...options, policy: { kind: 'full' } }).result
  t.is(full.selection, null)
})

test('the result tells what was used', async (t) => {
  const result = await model.generate('the of in', { maxNewTokens: 5 }).result
  t.is(result.usage.promptTokens, model.tokenizer.encode('the of in').length)
  t.true(result.usage.newTokens <= 5)
  t.is(result.memory.layerEntries.length, model.info.layers)
  t.true(result.timings.ttftMs > 0)
  t.deepEqual(result.warnings, [])
})

test('nothing starts before somebody asks', async (t) => {
  const { signal } = new AbortController()
  const idle = long.generate(words(20_000), { signal })
  idle.toReadableStream()
  await long.generate('the', { maxNewTokens: 1 }).result
  // What has started listens.
  t.is(getEventListeners(signal, 'abort').length, 0)
  idle.cancel()
  t.is((await idle.result).finishReason, 'cancelled')
})

test('events tell the whole story in order', async (t) => {
  const policy = { kind: 'gemfilter', budget: 40 } as const
  const generation = model.generate({ document: words(100), question: 'the?' }, { policy, maxNewTokens: 5 })
  const events: GenerationEvent[] = []
  for await (const event of generation.events()) events.push(event)
  const order = ['prefill', 'selection', 'text', 'finish']
  const seen = events.map((event) => event.type)
  t.is(seen.at(-1), 'finish')
  t.is(seen.filter((type) => type === 'selection').length, 1)
  t.deepEqual([...new Set(seen.filter((type) => type !== 'prefill'))], order.slice(1))
  const last = events.at(-1)
  t.is(last?.type === 'finish' ? last.result : undefined, await generation.result)
})

test('a selection waits for nobody and loses nothing', async (t) => {
  const document = words(100)
  const options = { policy: { kind: 'gemfilter', budget: 40 }, maxNewTokens: 20 } as const
  const generation = model.generate({ document, question: 'the?' }, options)
  const selection = (await generation.selection)!
  t.is(selection.indices.length, 40)
  t.is(selection.policy.kind, 'gemfilter')
  for (const span of selection.spans()) t.is(document.slice(span.start, span.end), span.text)
  t.is((await chunksOf(generation)).join(''), (await generation.result).text)
  t.is((await generation.result).selection, selection)
  t.is((await generation.result).usage.keptTokens, 40)
})

test('a readable stream gives the text', async (t) => {
  const options = { maxNewTokens: 30 }
  let text = ''
  for await (const part of model.generate('of the', options).toReadableStream()) text += part
  t.is(text, await model.generate('of the', options).text())
})

test('a stream that is cancelled before anybody reads ends the generation', async (t) => {
  const idle = long.generate(words(20_000))
  await idle.toReadableStream().cancel()
  t.is((await idle.result).finishReason, 'cancelled')
  const running = long.generate(words(20_000))
  const ended = running.result
  await running.toReadableStream().cancel()
  t.like(await ended, { finishReason: 'cancelled', text: '' })
})

test('a reader that leaves in the prompt ends it', async (t) => {
  let last = 0
  const onPrefill = ({ done }: { done: number }) => {
    if (last === 0) void reader.cancel()
    last = done
  }
  const generation: Generation = long.generate(words(20_000), { onPrefill })
  const reader: ReadableStreamDefaultReader<string> = generation.toReadableStream().getReader()
  t.true((await reader.read()).done)
  const { finishReason, usage } = await generation.result
  t.is(finishReason, 'cancelled')
  t.is(usage.newTokens, 0)
  t.true(last < usage.promptTokens / 2)
})

test('a second reader is refused', async (t) => {
  const generation = model.generate('the', { maxNewTokens: 3 })
  await chunksOf(generation)
  await t.throwsAsync(() => chunksOf(generation), { instanceOf: SkimError, code: 'ERR_ALREADY_CONSUMED' })
  t.throws(() => generation.events(), { code: 'ERR_ALREADY_CONSUMED' })
  t.throws(() => generation.toReadableStream(), { code: 'ERR_ALREADY_CONSUMED' })
  t.is(typeof (await generation.text()), 'string')
})

test('leaving the loop cancels and keeps the text', async (t) => {
  const generation = model.generate('the of', { maxNewTokens: 8000 })
  let first = ''
  for await (const chunk of generation) {
    first = chunk.text
    break
  }
  const result = await generation.result
  t.is(result.finishReason, 'cancelled')
  t.true(result.text.startsWith(first))
  t.true(result.usage.newTokens < 8000)
})

test('an error of the reader cancels too', async (t) => {
  const generation = model.generate('the of', { maxNewTokens: 8000 })
  const reading = async () => {
    for await (const _ of generation) throw new Error('mine')
  }
  await t.throwsAsync(reading, { message: 'mine' })
  t.is((await generation.result).finishReason, 'cancelled')
})

test('cancel in the prompt resolves, and the model goes on', async (t) => {
  const generation: Generation = long.generate(words(20_000), { onPrefill: once(() => generation.cancel()) })
  const result = await generation.result
  t.is(result.finishReason, 'cancelled')
  t.is(result.text, '')
  t.is(result.usage.newTokens, 0)
  t.is(typeof (await long.generate('the', { maxNewTokens: 1 }).text()), 'string')
})

test('abort in the prompt rejects with the reason and lets go of the signal', async (t) => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const { signal } = controller
  let listeners = 0
  const onPrefill = once(() => {
    listeners = getEventListeners(signal, 'abort').length
    controller.abort(reason)
  })
  const generation = long.generate(words(20_000), { signal, onPrefill })
  t.is(await t.throwsAsync(chunksOf(generation)), reason)
  t.is(await t.throwsAsync(generation.result), reason)
  t.is(await t.throwsAsync(generation.selection), reason)
  t.is(listeners, 1)
  t.is(getEventListeners(signal, 'abort').length, 0)
})

test('a signal is let go of after a good end as well', async (t) => {
  const { signal } = new AbortController()
  await model.generate('the', { signal, maxNewTokens: 2 }).result
  t.is(getEventListeners(signal, 'abort').length, 0)
})

test('a signal that is aborted already starts nothing', async (t) => {
  const signal = AbortSignal.abort('no')
  const generation = model.generate('the', { signal })
  t.is(await t.throwsAsync(generation.result, { any: true }), 'no')
  t.is(await t.throwsAsync(chunksOf(model.generate('the', { signal })), { any: true }), 'no')
})

test('abort in the queue rejects at once', async (t) => {
  const running: Generation = long.generate(words(20_000))
  const ended = running.result
  const controller = new AbortController()
  const waiting = long.generate('the', { signal: controller.signal }).result
  controller.abort()
  t.is(await t.throwsAsync(waiting, { any: true }), controller.signal.reason)
  running.cancel()
  t.is((await ended).finishReason, 'cancelled')
})

test('two generations on one model take turns, first come first served', async (t) => {
  const order: string[] = []
  const [first, second] = ['first', 'second'].map((name) =>
    model.generate(words(300), { maxNewTokens: 5, onPrefill: ({ done, total }) => done === total && order.push(name) }),
  )
  const results = await Promise.all([first!.result, second!.result])
  t.deepEqual(order, ['first', 'second'])
  t.is(results[0].text, results[1].text)
  t.true(results[1].timings.queueMs > results[0].timings.queueMs)
})

test('disposing of a generation cancels it', async (t) => {
  const generation = model.generate('the of', { maxNewTokens: 8000 })
  await generation[Symbol.asyncIterator]().next()
  await generation[Symbol.asyncDispose]()
  t.is((await generation.result).finishReason, 'cancelled')
})

test('onPrefill that throws is one warning', async (t) => {
  let calls = 0
  const onPrefill = () => {
    calls++
    throw new Error('mine')
  }
  const { warnings } = await model.generate(words(700), { maxNewTokens: 2, onPrefill }).result
  t.is(calls, 1)
  t.deepEqual(
    warnings.map((warning) => warning.code),
    ['W_CALLBACK'],
  )
  t.regex(warnings[0]!.message, /mine/)
})

test('onPrefill is told how far the prompt is', async (t) => {
  const news: number[] = []
  const onPrefill = ({ stage, done, total }: { stage: string; done: number; total: number }) => {
    t.is(stage, 'prefill')
    t.true(done <= total)
    news.push(done)
  }
  await model.generate(words(700), { maxNewTokens: 2, onPrefill }).result
  t.true(news.length > 0)
  t.deepEqual(
    news,
    news.toSorted((a, b) => a - b),
  )
})

test('characters are never split between chunks', async (t) => {
  const chunks: { text: string; tokens: number }[] = []
  for (let seed = 0; seed < 20; seed++) {
    const generation = model.generate('the', { maxNewTokens: 300, temperature: 1.5, seed })
    for await (const { text, tokenIds } of generation) chunks.push({ text, tokens: tokenIds.length })
  }
  t.true(chunks.every(({ text }) => text.isWellFormed() && text !== ''))
  // Random bytes make a whole character of several tokens now and then.
  t.true(chunks.some(({ text, tokens }) => tokens > 1 && /^[^\0-\x7f\ufffd]$/u.test(text)))
})

test('the same seed gives the same text', async (t) => {
  const options = { maxNewTokens: 40, temperature: 1.2, topK: 50, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1 }
  const result = await model.generate('the', options).result
  t.true(Number.isSafeInteger(result.seed))
  t.is(await model.generate('the', { ...options, seed: result.seed! }).text(), result.text)
})

test('a stop string ends the text before it, wherever chunks end', async (t) => {
  const options = { maxNewTokens: 200, temperature: 1, seed: 3 }
  const { text } = await model.generate('the of', options).result
  const stop = text.slice(40, 46)
  t.is(stop.length, 6)
  const generation = model.generate('the of', { ...options, stop: ['no such text', stop] })
  t.is((await chunksOf(generation)).join(''), text.slice(0, text.indexOf(stop)))
  const result = await generation.result
  t.is(result.finishReason, 'stop-string')
  t.is(result.stopString, stop)
  t.is(result.text, text.slice(0, text.indexOf(stop)))
})

test('lone surrogates are replaced, said so, and offsets stay', async (t) => {
  const document = `a\ud83d🐋\udc0b${words(40)}`
  const policy = { kind: 'gemfilter', budget: 30 } as const
  const result = await model.generate({ document, question: 'the?' }, { policy, maxNewTokens: 1 }).result
  t.true(result.warnings.some((warning) => warning.code === 'W_ILL_FORMED'))
  for (const { start, end, text } of result.selection!.spans()) t.is(document.slice(start, end).toWellFormed(), text)
})

test('NUL, BOM and CRLF go through as they are', async (t) => {
  const document = `\ufeffa\0b\r\n${words(40)}`
  const selection = await model.select(
    { document, question: 'the?' },
    { policy: { kind: 'gemfilter', budget: { ratio: 0.5 } } },
  )
  const kept = Array.from(selection).filter((token) => token.source === 'document')
  t.true(kept.length > 0)
  for (const { start, end, text } of kept) if (!text.includes('\ufffd')) t.is(document.slice(start, end), text)
  t.is(model.tokenizer.decode(model.tokenizer.encode(document)), document)
})

test('a selection can be replayed', async (t) => {
  const prompt = { document: words(100), question: 'the?' }
  const options = { policy: { kind: 'gemfilter', budget: 40 }, maxNewTokens: 10 } as const
  const first = await model.generate(prompt, options).result
  const again = await model.generate(prompt, { ...options, forceIndices: first.selection!.indices }).result
  t.deepEqual(again.selection!.indices, first.selection!.indices)
  t.is(again.text, first.text)
})

test('pinned text survives', async (t) => {
  const document = words(100)
  const at = document.indexOf('3 of', 200)
  const options = {
    policy: { kind: 'gemfilter', budget: 40 },
    pins: { text: [[at, at + 4]] },
    maxNewTokens: 1,
  } as const
  const { selection } = await model.generate(
    { document, question: 'the?' },
    { ...options, pins: { text: [[at, at + 4]] } },
  ).result
  t.true(selection!.spans().some(({ start, end }) => start <= at && end >= at + 4))
})

test('bare tokens and chats are prompts too', async (t) => {
  const tokens = model.tokenizer.encode('the of in')
  t.is(
    await model.generate({ tokens }, { maxNewTokens: 5 }).text(),
    await model.generate('the of in', { maxNewTokens: 5 }).text(),
  )
  const messages = [{ role: 'user', content: 'the' }] as const
  const rendered = model.tokenizer.applyChatTemplate([...messages])
  const result = await model.generate([...messages], { maxNewTokens: 1 }).result
  t.is(result.usage.promptTokens, model.tokenizer.encode(rendered, { special: true }).length)
})
