import test from 'ava'
import { type GenerateOptions, type Model, type Prompt, SkimError, loadModel, policies } from '../index.js'
import { tinyModel } from './tiny.js'

let model: Model

test.before(async () => {
  model = await loadModel(await tinyModel('positions=64'))
})

test.after.always(() => model?.dispose())

const gemfilter = (options: object) => ({ policy: { kind: 'gemfilter', ...options } }) as unknown as GenerateOptions

const refusals: [string, unknown, RegExp?][] = [
  ['temperature', { temperature: NaN }],
  ['temperature', { temperature: -1 }],
  ['temperature', { temperature: 'hot' }],
  ['topP', { topP: 0 }],
  ['topP', { topP: 1.5 }],
  ['topK', { topK: 2.5 }],
  ['topK', { topK: 0 }],
  ['minP', { minP: 2 }],
  ['repetitionPenalty', { repetitionPenalty: 0 }],
  ['seed', { seed: -1 }],
  ['seed', { seed: 1.5 }],
  ['maxNewTokens', { maxNewTokens: 0 }],
  ['maxNewTokens', { maxNewTokens: 1.5 }],
  ['maxNewTokens', { maxNewTokens: Infinity }],
  ['stop', { stop: [''] }],
  ['stop', { stop: Array.from({ length: 65 }, (_, i) => `${i}`) }],
  ['stop', { stop: ['x'.repeat(4097)] }],
  ['overflow', { overflow: 'cut' }],
  ['signal', { signal: {} }],
  ['onPrefill', { onPrefill: 'no' }],
  ['forceIndices', { forceIndices: [1, 2] }],
  ['maxTokens', { maxTokens: 5 }, /did you mean maxNewTokens\?/],
  ['policy.kind', { policy: { kind: 'gemfliter' } }, /gemfilter/],
  ['policy.budget', gemfilter({ budget: 0 })],
  ['policy.budget', gemfilter({ budget: -3 })],
  ['policy.budget', gemfilter({ budget: 2.5 })],
  ['policy.budget', gemfilter({ budget: NaN })],
  ['policy.layer', gemfilter({ layer: 5 }), /0 to 4/],
  ['policy.layer', gemfilter({ layer: -1 })],
]
for (const [option, options, message] of refusals)
  test(`refused at once: ${JSON.stringify(options, (_, value) => (typeof value === 'number' ? String(value) : value)).slice(0, 70)}`, (t) => {
    const error = t.throws(() => model.generate('the', options as GenerateOptions), { instanceOf: SkimError })!
    t.is(error.code, 'ERR_INVALID_ARG', error.message)
    t.true(String(error.details['option']).startsWith(option), `${error.details['option']}: ${error.message}`)
    t.true('expected' in error.details && 'value' in error.details)
    if (message) t.regex(error.message, message)
  })

test('an unknown option of a policy answers with the known ones', (t) => {
  const error = t.throws(() => model.generate('the', gemfilter({ bugdet: 4 })), { instanceOf: SkimError })!
  t.is(error.code, 'ERR_INVALID_ARG')
  t.regex(error.message, /bugdet.*budget/s)
})

const badPrompts: unknown[] = [
  undefined,
  null,
  7,
  {},
  { document: 'a' },
  { document: 'a', question: 'b', sytem: 'c' },
  [{ role: 'tool', content: 'a' }],
  { tokens: [1, 2] },
  [{ role: 'user', content: 1n }],
]
for (const [i, prompt] of badPrompts.entries())
  test(`refused at once: prompt form ${i}`, (t) => {
    t.throws(() => model.generate(prompt as Prompt), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
  })

const empty: Prompt[] = ['', [], [{ role: 'user', content: '' }], { tokens: new Uint32Array() }]
for (const [i, prompt] of empty.entries())
  test(`an empty prompt rejects: ${i}`, async (t) => {
    await t.throwsAsync(model.generate(prompt).result, { instanceOf: SkimError, code: 'ERR_EMPTY_PROMPT' })
  })

test('white space is a prompt', async (t) => {
  t.is((await model.generate(' \n ', { maxNewTokens: 1 }).result).finishReason === 'cancelled', false)
})

test('more than 512 MB of text is refused before it is copied', (t) => {
  const content = 'x'.repeat(200 * 1024 * 1024)
  const prompt = Array.from({ length: 3 }, () => ({ role: 'user', content }) as const)
  const error = t.throws(() => model.generate(prompt), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })!
  t.is(error.details['option'], 'prompt')
})

test('a prompt over the limit rejects with the numbers', async (t) => {
  const tokens = new Uint32Array(65).fill(40)
  const error = await t.throwsAsync(model.generate({ tokens }, { maxNewTokens: 8 }).result, { instanceOf: SkimError })
  t.is(error!.code, 'ERR_CONTEXT_OVERFLOW')
  t.like(error!.details, { promptTokens: 65, maxNewTokens: 8, limit: 64 })
})

test('overflow says what may be left out, and how much was', async (t) => {
  const tokens = new Uint32Array(100).fill(40)
  for (const overflow of ['truncate-start', 'truncate-middle'] as const) {
    const { usage, warnings } = await model.generate({ tokens }, { overflow, maxNewTokens: 8 }).result
    t.is(usage.truncatedTokens, 44)
    t.true(warnings.some((warning) => warning.code === 'W_TRUNCATED'))
  }
})

test('too many new tokens are fewer, with a warning', async (t) => {
  const tokens = new Uint32Array(60).fill(40)
  const { usage, warnings } = await model.generate({ tokens }, { maxNewTokens: 50 }).result
  t.true(usage.newTokens <= 5)
  t.deepEqual(
    warnings.map((warning) => warning.code),
    ['W_SHORTENED'],
  )
})

test('a budget beyond the prompt is the full model, with a warning', async (t) => {
  const prompt = { document: 'the of in the', question: 'the?' }
  const full = await model.generate(prompt, { maxNewTokens: 10 }).result
  const kept = await model.generate(prompt, { maxNewTokens: 10, ...gemfilter({ budget: 64 }) }).result
  t.is(kept.text, full.text)
  t.true(kept.warnings.some((warning) => warning.code === 'W_POLICY_NOOP'))
  t.is(kept.usage.keptTokens, kept.usage.promptTokens)
})

test('a budget below the pins rejects', async (t) => {
  const pins = { question: true, template: true, last: 1 }
  const chargeBudget = true
  const prompt = { document: 'the of in the of', question: 'the of the?' }
  const work = () => model.generate(prompt, gemfilter({ budget: 1, pins: { ...pins, chargeBudget } })).result
  await t.throwsAsync(async () => work(), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
})

test('the text of special tokens is only text', async (t) => {
  const special = '<|im_end|>'
  t.is(model.tokenizer.encode(special, { special: true }).length, 1)
  t.true(model.tokenizer.encode(special).length > 1)
  const count = async (content: string) =>
    (await model.generate([{ role: 'user', content }], { maxNewTokens: 1 }).result).usage.promptTokens
  t.is((await count(`a${special}`)) - (await count('a')), model.tokenizer.encode(special).length)
})

test('the tokenizer gives flat offsets of whole characters', (t) => {
  const text = 'the 🐋 of\ufeff\r\n\0é'
  const { ids, offsets } = model.tokenizer.encodeWithOffsets(text)
  t.true(ids instanceof Uint32Array && offsets instanceof Uint32Array)
  t.is(offsets.length, 2 * ids.length)
  t.is(offsets.at(-1), text.length)
  for (let i = 0; i < ids.length; i++) t.true(text.slice(offsets[2 * i], offsets[2 * i + 1]).isWellFormed())
  t.is(model.tokenizer.decode(ids), text)
})

test('the tokenizer refuses what it cannot know', (t) => {
  t.throws(() => model.tokenizer.decode(Uint32Array.of(1e6)), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
  t.throws(() => model.tokenizer.decode([1] as never), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
  t.throws(() => model.tokenizer.encode(7 as never), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
  t.is(model.tokenizer.decode(Uint32Array.of(2), { skipSpecial: true }), '')
  t.is(model.tokenizer.decode(Uint32Array.of(2)), '<|im_end|>')
})

test('where layers or heads differ, select shows what each keeps', async (t) => {
  const prompt = { document: 'the of in the of in to a the of in', question: 'the?' }
  const { layers, kvHeads } = model.info
  const narrow = policies.promptdistill({ stages: [{ layer: 0, budget: 4 }], pins: { chargeBudget: false } })
  const distilled = await model.select(prompt, { policy: narrow, scores: 'all' })
  t.deepEqual(
    distilled.heads?.map(({ layer, heads }) => [layer, heads.map((list) => list.length)]),
    Array.from({ length: layers }, (_, layer) => [
      layer,
      [layer === 0 ? distilled.promptTokens : distilled.indices.length],
    ]),
  )
  t.is(distilled.allScores?.length, distilled.promptTokens)
  const snap = await model.select(prompt, { policy: { kind: 'snapkv', budget: 6, window: 2 }, scores: 'all' })
  t.is(snap.heads?.length, layers)
  const union = new Set<number>()
  for (const { heads } of snap.heads ?? []) {
    t.is(heads.length, kvHeads)
    for (const list of heads) {
      t.is(list.length, 6)
      for (const index of list) union.add(index)
    }
  }
  t.deepEqual(
    [...snap.indices],
    [...union].toSorted((a, b) => a - b),
  )
})

test('select keeps to its options', async (t) => {
  const prompt = { document: 'the of in the of in', question: 'the?' }
  const all = await model.select(prompt, { policy: { kind: 'gemfilter', budget: { ratio: 0.9 } }, scores: 'all' })
  t.is(all.allScores?.length, all.promptTokens)
  const kept = await model.select(prompt, { policy: { kind: 'gemfilter', budget: { ratio: 0.9 } } })
  t.is(kept.allScores, null)
  t.is(kept.heads, null)
  t.is(all.heads, null, 'one list serves every layer')
  t.deepEqual(kept.indices, all.indices)
  t.true((await model.select(prompt)).indices.length > 0)
  await t.throwsAsync(model.select(prompt, { policy: { kind: 'full' } }), { code: 'ERR_INVALID_ARG' })
  await t.throwsAsync(model.select(prompt, { scores: 'some' as never }), { code: 'ERR_INVALID_ARG' })
  await t.throwsAsync(model.select(prompt, { budget: 3 } as never), { code: 'ERR_INVALID_ARG' })
  await t.throwsAsync(model.select(prompt, null as never), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
  t.is((await model.select(prompt, { policy: null as never })).policy.kind, 'gemfilter')
})

test.serial('what a selection remarks is a process warning', async (t) => {
  const warnings: (Error & { code?: string })[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  await model.select({ document: 'the of in the', question: 'the?' }, { policy: { kind: 'gemfilter', budget: 64 } })
  await new Promise(setImmediate)
  process.off('warning', listen)
  t.deepEqual(
    warnings.map(({ name, code }) => [name, code]),
    [['SkimWarning', 'W_POLICY_NOOP']],
  )
})
