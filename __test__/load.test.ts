import test from 'ava'
import { readFile, writeFile, mkdir } from 'node:fs/promises'
import { getEventListeners } from 'node:events'
import { join } from 'node:path'
import { type LoadProgress, SkimError, devices, estimateMemory, inspectModel, loadModel } from '../index.js'
import { scratch, tinyFolder, tinyModel } from './tiny.js'

const usable = devices().flatMap(({ id, reason }) => (reason === undefined ? [id] : []))

test('inspecting says what the header says', async (t) => {
  const info = await inspectModel(await tinyModel())
  t.like(info, {
    architecture: 'llama',
    layers: 6,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    hiddenSize: 32,
    maxPositions: 8192,
  })
  t.true(info.supportedPolicies.includes('gemfilter'))
  t.true(info.defaultFilterLayer >= 0 && info.defaultFilterLayer < info.layers - 1)
  t.is(info.quantization, null)
  t.deepEqual(info.rope, [{ kind: 'default', base: 10_000, factor: null, originalPositions: null, dims: 8 }])
  t.is(info.window, null)
  t.deepEqual(
    info.layout,
    Array.from({ length: 6 }, () => ({ window: null, rope: 0 })),
  )
  t.deepEqual(info.unsupported, [])
})

test('inspecting takes the options of fetching', async (t) => {
  const options = { cacheDir: join(scratch, 'no-models'), offline: true }
  const error = await t.throwsAsync(inspectModel({ hub: 'some/model' }, options), { instanceOf: SkimError })
  t.is(error!.code, 'ERR_HUB')
  t.regex(error!.message, /no-models/)
})

for (const [option, options] of [
  ['ofline', { ofline: true }],
  ['device', { device: 'cpu' }],
  ['signal', { signal: {} }],
  ['onProgress', { onProgress: 1 }],
] as const)
  test(`inspecting and estimating refuse ${option}`, async (t) => {
    const path = await tinyModel()
    for (const work of [
      inspectModel(path, options as never),
      estimateMemory(path, { promptTokens: 1 }, options as never),
    ]) {
      const error = await t.throwsAsync(work, { instanceOf: SkimError })
      t.is(error!.code, 'ERR_INVALID_ARG')
      t.is(error!.details['option'], option)
    }
  })

test('the estimate follows the policy, the length and the types', async (t) => {
  const path = await tinyModel()
  const need = { promptTokens: 4096, maxNewTokens: 1 }
  const full = await estimateMemory(path, need)
  t.is(full.total, full.weights + full.kvCache + full.activations + full.program)
  t.true(full.fits && full.freeOnDevice > full.total)
  // Keys and values of 6 layers, 2 heads of 8, 2 bytes each; 8 bytes of bookkeeping.
  t.is(full.kvCache, 6 * 4097 * (2 * 2 * 8 * 2 + 8))
  const few = await estimateMemory(path, { ...need, policy: { kind: 'gemfilter', budget: 64 } })
  t.is(few.kvCache, 4096 * (2 * 2 * 8 * 2 + 8))
  t.true((await estimateMemory(path, { ...need, dtype: 'f32' })).kvCache > full.kvCache * 1.5)
  const small = await estimateMemory(path, { ...need, dtype: 'q8_0' })
  t.true(small.weights < full.weights / 2 && small.kvCache === full.kvCache)
  const wide = await tinyModel('head=32')
  const eight = await estimateMemory(wide, { ...need, kvDtype: 'q8_0' })
  t.is(eight.kvCache, 6 * 4097 * (2 * 2 * 34 + 8))
  t.is((await estimateMemory(wide, { ...need, dtype: 'f32', kvDtype: 'f16' })).kvCache, 6 * 4097 * (2 * 2 * 64 + 8))
  const huge = await estimateMemory(path, { promptTokens: 2 ** 32 - 1 })
  t.false(huge.fits)
})

for (const [option, need] of [
  ['promptTokens', { promptTokens: -1 }],
  ['promptTokens', { promptTokens: NaN }],
  ['maxNewTokens', { promptTokens: 1, maxNewTokens: 0 }],
  ['dtype', { promptTokens: 1, dtype: 'q9' }],
  ['kvDtype', { promptTokens: 1, kvDtype: 'q4_k' }],
  ['kvDtype', { promptTokens: 1, kvDtype: 'q8_0' }],
  ['policy.kind', { promptTokens: 1, policy: { kind: 'gemfliter' } }],
  ['policy.layer', { promptTokens: 1, policy: { kind: 'gemfilter', layer: 5 } }],
] as const)
  test(`an estimate is refused: ${JSON.stringify(need)}`, async (t) => {
    const error = await t.throwsAsync(estimateMemory(await tinyModel(), need as never), { instanceOf: SkimError })
    t.is(error!.code, 'ERR_INVALID_ARG', error!.message)
    t.is(error!.details['option'], option)
  })

for (const dtype of ['auto', 'f32', 'f16', 'bf16', 'q8_0', 'q4_k'] as const)
  test(`a folder of floats loads as ${dtype}`, async (t) => {
    const folder = join(scratch, `float-${dtype}`)
    await mkdir(folder)
    await tinyFolder(folder)
    const model = await loadModel(folder, { dtype })
    const { text, memory, usage } = await model.generate('the of in', { maxNewTokens: 2, temperature: 0 }).result
    t.is(typeof text, 'string')
    const entry = 2 * 2 * 8 * (dtype === 'f32' ? 4 : 2)
    t.is(memory.kvBytes, 6 * (usage.promptTokens + usage.newTokens - 1) * entry)
    await model.dispose()
  })

test('a loaded model knows itself, its device and how far loading was', async (t) => {
  const path = await tinyModel()
  const news: LoadProgress[] = []
  const model = await loadModel(path, { onProgress: (progress) => news.push(progress) })
  t.deepEqual(model.info, await inspectModel({ path }))
  t.is(model.device.id, usable[0]!)
  t.false(model.disposed)
  const last = news.at(-1)!
  t.is(last.phase, 'weights')
  t.true(last.loadedBytes <= last.totalBytes!)
  await model.dispose()
})

test('devices tell why they cannot be used', (t) => {
  const all = devices()
  t.true(usable.includes('cpu'))
  t.true(all.length > 1)
  t.true(all.every(({ reason, totalBytes }) => (reason === undefined ? totalBytes > 0 : reason !== '')))
})

for (const [kvDtype, bytes] of [
  ['auto', 128],
  ['bf16', 64],
  ['q8_0', 34],
] as const)
  test(`the cache is ${kvDtype} whatever the weights are`, async (t) => {
    const model = await loadModel(await tinyModel('head=32'), { dtype: 'f32', kvDtype })
    const { memory, usage } = await model.generate('the of in', { maxNewTokens: 2, temperature: 0 }).result
    t.is(memory.kvBytes, 6 * (usage.promptTokens + usage.newTokens - 1) * 2 * 2 * bytes)
    await model.dispose()
  })

test('a device that is not there is refused, one that makes no sense too', async (t) => {
  const path = await tinyModel()
  const error = await t.throwsAsync(loadModel(path, { device: 'cuda:99' }), { instanceOf: SkimError })
  t.is(error!.code, 'ERR_DEVICE')
  t.deepEqual(error!.details['usable'], usable)
  const none = devices().find(({ id }) => id === 'cuda')
  t.is(error!.details['reason'], none?.reason ?? 'There is no such device.')
  await t.throwsAsync(loadModel(path, { device: 'gpu' as never }), { code: 'ERR_INVALID_ARG' })
})

test('nothing is fetched for a device or a type that cannot be', async (t) => {
  const hub = { cacheDir: join(scratch, 'no-models'), offline: true }
  await t.throwsAsync(loadModel('some/model', hub), { code: 'ERR_HUB' })
  await t.throwsAsync(loadModel('some/model', { ...hub, device: 'cuda:99' }), { code: 'ERR_DEVICE' })
  await t.throwsAsync(loadModel('some/model', { ...hub, dtype: 'q9' as never }), { code: 'ERR_INVALID_ARG' })
})

const badOptions: [string, object][] = [
  ['threads', { threads: 0 }],
  ['threads', { threads: 1.5 }],
  ['threads', { threads: NaN }],
  ['dtype', { dtype: 'int4' }],
  ['kvDtype', { kvDtype: 'q4_k' }],
  // The test model's heads have 8 numbers, a block 32.
  ['kvDtype', { kvDtype: 'q8_0' }],
  ['activations', { activations: 'int4' }],
  ['contextLength', { contextLength: 0 }],
  ['contextLength', { contextLength: 1e9 }],
  ['signal', { signal: 'now' }],
  ['onProgress', { onProgress: 1 }],
  ['contextlength', { contextlength: 5 }],
]
for (const [option, options] of badOptions)
  test(`refused: ${option} ${Object.values(options)}`, async (t) => {
    const path = await tinyModel()
    const error = await t.throwsAsync(loadModel(path, options), { instanceOf: SkimError })
    t.is(error!.code, 'ERR_INVALID_ARG', error!.message)
    t.is(error!.details['option'], option)
  })

test('a missing path names itself and its neighbours', async (t) => {
  await writeFile(join(scratch, 'whale-model.gguf'), '')
  const error = await t.throwsAsync(loadModel(join(scratch, 'whale-modle.gguf')), { instanceOf: SkimError })
  t.is(error!.code, 'ERR_MODEL_NOT_FOUND')
  t.regex(JSON.stringify(error!.details), /whale-model\.gguf/)
})

test('a folder without a model says what it looked for', async (t) => {
  const folder = join(scratch, 'empty')
  await mkdir(folder)
  await t.throwsAsync(loadModel({ path: folder }), { instanceOf: SkimError, code: 'ERR_MODEL_NOT_FOUND' })
})

const lookAlikes: [string, string, RegExp][] = [
  ['page.gguf', '<!DOCTYPE html><html></html>', /HTML/],
  ['pointer.gguf', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n', /LFS/i],
  ['noise.gguf', 'something else entirely', /GGUF/],
]
for (const [name, content, message] of lookAlikes)
  test(`not a model: ${name}`, async (t) => {
    const path = join(scratch, name)
    await writeFile(path, content)
    const error = await t.throwsAsync(loadModel({ path }), { instanceOf: SkimError, code: 'ERR_MODEL_CORRUPT' })
    t.regex(error!.message, message)
  })

test('a truncated model is refused', async (t) => {
  const whole = await readFile(await tinyModel())
  const path = join(scratch, 'short.gguf')
  await writeFile(path, whole.subarray(0, whole.length - 1000))
  await t.throwsAsync(loadModel({ path }), { instanceOf: SkimError, code: 'ERR_MODEL_CORRUPT' })
})

test('an unknown architecture is named beside the known ones', async (t) => {
  const whole = await readFile(await tinyModel())
  const at = whole.indexOf('general.architecture') + 'general.architecture'.length
  whole.write('xlama', whole.indexOf('llama', at))
  const path = join(scratch, 'xlama.gguf')
  await writeFile(path, whole)
  const error = await t.throwsAsync(loadModel({ path }), { instanceOf: SkimError, code: 'ERR_MODEL_UNSUPPORTED' })
  t.is(error!.details['architecture'], 'xlama')
  t.true(Array.isArray(error!.details['supported']))
})

test('a policy that cannot see the whole prompt is refused', async (t) => {
  const folder = join(scratch, 'sliding')
  await mkdir(folder)
  await tinyFolder(folder)
  const config = join(folder, 'config.json')
  const settings = JSON.parse(await readFile(config, 'utf8')) as object
  await writeFile(config, JSON.stringify({ ...settings, model_type: 'mistral', sliding_window: 16 }))
  const model = await loadModel(folder)
  t.is(model.info.window, 16)
  t.false(model.info.supportedPolicies.includes('gemfilter'))
  const error = t.throws(() => model.generate('the of', { policy: { kind: 'gemfilter' } }), { instanceOf: SkimError })!
  t.is(error.code, 'ERR_POLICY_UNSUPPORTED')
  t.like(error.details, { policy: 'gemfilter', window: 16 })
  const { usage } = await model.generate('the of', { policy: { kind: 'snapkv' }, maxNewTokens: 1 }).result
  t.is(usage.newTokens, 1)
  await model.dispose()
})

test('a model without a tokenizer does not load', async (t) => {
  await t.throwsAsync(loadModel(await tinyModel('tokenizer=no')), { instanceOf: SkimError, code: 'ERR_TOKENIZER' })
})

test('a chat needs a template', async (t) => {
  const path = await tinyModel('template=no')
  const bare = await loadModel(path)
  const messages = [{ role: 'user' as const, content: 'the' }]
  await t.throwsAsync(bare.generate(messages).result, { instanceOf: SkimError, code: 'ERR_CHAT_TEMPLATE' })
  const error = t.throws(() => bare.tokenizer.applyChatTemplate(messages), { instanceOf: SkimError })!
  t.is(error.code, 'ERR_CHAT_TEMPLATE')
  t.is(error.details['option'], 'chatTemplate')
  await bare.dispose()
  const chatTemplate = '{% for m in messages %}[{{ m.content }}]{% endfor %}'
  const given = await loadModel(path, { chatTemplate })
  t.is(given.tokenizer.applyChatTemplate(messages), '[the]')
  await given.dispose()
  await t.throwsAsync(loadModel(path, { chatTemplate: '{% for' }), { code: 'ERR_CHAT_TEMPLATE' })
})

test('a template that throws is the template’s failure', async (t) => {
  const model = await loadModel(await tinyModel(), { chatTemplate: "{{ raise_exception('roles must alternate') }}" })
  const error = await t.throwsAsync(model.generate([{ role: 'user', content: 'the' }]).result, {
    instanceOf: SkimError,
  })
  t.is(error!.code, 'ERR_CHAT_TEMPLATE')
  t.regex(error!.message, /roles must alternate/)
  await model.dispose()
})

test('onProgress that throws is one warning', async (t) => {
  const path = await tinyModel()
  const warnings: (Error & { code?: string })[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  let calls = 0
  const onProgress = () => {
    calls++
    throw new Error('mine')
  }
  await (await loadModel(path, { onProgress })).dispose()
  await new Promise(setImmediate)
  process.off('warning', listen)
  t.is(calls, 1)
  t.is(warnings.filter(({ code }) => code === 'W_CALLBACK').length, 1)
})

test('an aborted signal rejects with its reason, before and while loading', async (t) => {
  const path = await tinyModel()
  const reason = new Error('enough')
  t.is(await t.throwsAsync(loadModel(path, { signal: AbortSignal.abort(reason) })), reason)
  const controller = new AbortController()
  const { signal } = controller
  const loading = loadModel(path, { signal, onProgress: () => controller.abort(reason) })
  t.is(await t.throwsAsync(loading), reason)
  t.is(getEventListeners(signal, 'abort').length, 0)
})

test('a signal is let go of when the model is loaded', async (t) => {
  const { signal } = new AbortController()
  const model = await loadModel(await tinyModel(), { signal })
  t.is(getEventListeners(signal, 'abort').length, 0)
  await model.dispose()
})

test('a full queue refuses the next generation', async (t) => {
  const model = await loadModel(await tinyModel('positions=262144'), { maxQueue: 1 })
  const document = 'the of in '.repeat(20_000)
  const running = [model.generate(document), model.generate(document)]
  const ended = running.map((generation) => generation.result)
  const error = await t.throwsAsync(model.generate('the').result, { instanceOf: SkimError })
  t.is(error!.code, 'ERR_BUSY')
  t.is(error!.details['limit'], 1)
  for (const generation of running) generation.cancel()
  for (const { finishReason } of await Promise.all(ended)) t.is(finishReason, 'cancelled')
  await model.dispose()
})
