import { getEventListeners } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { SkimError, calibrate, evaluate, loadModel, policies } from '../index.js'
import { scratch as folder, tinyModel } from './tiny.js'

const syllables = ['ba', 'de', 'fi', 'go', 'lu', 'ma', 'ne', 'ri', 'so', 'tu']
const word = (i: number) => [i % 10, (i / 10) % 10, i / 100, i % 7].map((at) => syllables[Math.floor(at)]).join('')
const text = join(folder, 'book.txt')
await writeFile(
  text,
  Array.from({ length: 400 }, (_, i) => `The keeper wrote line ${i} about ${word(i)} and the price of rope.`).join(' '),
)
const model = await loadModel(await tinyModel())

test.after.always(() => model.dispose())

const plan = (output: string) => ({
  text,
  tasks: ['needle'],
  lengths: [300],
  cases: 2,
  policies: [
    { name: 'full', policy: policies.full() },
    { name: 'bm25', policy: { kind: 'bm25' as const, budget: 150 } },
  ],
  output: join(folder, output),
})

test('an evaluation leaves a summary and its files', async (t) => {
  const seen: number[] = []
  const summary = await evaluate(model, plan('whole'), { onProgress: (p) => seen.push(p.done) })
  t.deepEqual(
    summary.policies.map((cell) => [cell.policy, cell.cases, cell.errors]),
    [
      ['full', 2, 0],
      ['bm25', 2, 0],
    ],
  )
  t.is(summary.policies[1]?.recall?.mean, 1)
  t.is(seen.at(-1), 4)
  t.regex(await readFile(join(folder, 'whole', 'report.html'), 'utf8'), /bm25/)
})

test('a stopped evaluation resolves with what is done', async (t) => {
  const stop = new AbortController()
  const onProgress = (p: { done: number }) => p.done === 1 && stop.abort()
  const summary = await evaluate(model, { ...plan('part'), cases: 60 }, { signal: stop.signal, onProgress })
  t.true(summary.policies.reduce((all, cell) => all + cell.cases, 0) < 120)
  t.is(await model.generate('the of', { maxNewTokens: 1 }).result.then((r) => r.usage.newTokens), 1)
})

test('an evaluation that only selects answers nothing', async (t) => {
  const policy = policies.gemfilter({ budget: { ratio: 0.5 }, pins: { chargeBudget: false } })
  const chosen = { ...plan('chosen'), policies: [{ name: 'half', policy }], selectOnly: true }
  const { policies: cells, groups } = await evaluate(model, chosen)
  t.deepEqual([cells[0]?.cases, cells[0]?.score, cells[0]?.ttftMs], [2, null, null])
  t.true((cells[0]?.kept?.mean ?? 1) < 0.8)
  t.deepEqual(
    groups.map((cell) => [cell.length, cell.family]),
    [
      [300, undefined],
      [300, 'single'],
    ],
  )
})

test('the needle test reads a folder of texts', async (t) => {
  const path = join(folder, 'essays')
  await mkdir(path)
  await writeFile(join(path, 'one.txt'), await readFile(text, 'utf8'))
  const { text: _, tasks: __, ...rest } = plan('needle')
  const bm25 = { name: 'bm25', policy: { kind: 'bm25' as const, budget: { ratio: 0.2 }, chargeBudget: false } }
  const summary = await evaluate(model, {
    ...rest,
    lengths: [600],
    files: [{ format: 'needle', path }],
    policies: [{ name: 'full', policy: policies.full() }, bm25],
  })
  t.deepEqual(
    summary.cells.map((cell) => [cell.task, cell.length, cell.policy, cell.cases, cell.recall?.mean]),
    [
      ['needle-folder', 600, 'full', 2, 1],
      ['needle-folder', 600, 'bm25', 2, 1],
    ],
  )
})

test('a calibration makes a profile that the model takes', async (t) => {
  const phases = new Set<string>()
  const options = { onProgress: (p: { phase: string }) => void phases.add(p.phase) }
  const profile = await calibrate(model, { text, name: 'tiny', lengths: [300], cases: 1 }, options)
  t.deepEqual([...phases], ['listen', 'choose', 'check'])
  const path = join(folder, 'tiny.json')
  await writeFile(path, JSON.stringify({ ...profile, exactBelow: 10 }))
  const calibrated = await loadModel(await tinyModel(), { profile: path })
  const prompt = { document: 'the of in the of in to a the of in. '.repeat(20), question: 'the?' }
  const { selection } = await calibrated.generate(prompt, { policy: policies.auto({ recall: 0 }), maxNewTokens: 1 })
    .result
  t.is(selection?.served?.kind, 'gemfilter')
  t.regex(selection?.reason ?? '', /profile tiny/)
  await calibrated.dispose()
})

test('a stopped calibration rejects with the reason of its signal', async (t) => {
  const stop = new AbortController()
  const reason = new Error('enough')
  const options = { signal: stop.signal, onProgress: () => stop.abort(reason) }
  t.is(await t.throwsAsync(calibrate(model, { text, name: 'none', lengths: [300] }, options)), reason)
  t.is(getEventListeners(stop.signal, 'abort').length, 0)
  const again = calibrate(model, { text, name: 'none' }, { signal: stop.signal })
  t.is(await t.throwsAsync(again), reason)
})

test('onProgress that throws is one warning, and the work goes on', async (t) => {
  const warnings: (Error & { code?: string })[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  const onProgress = () => {
    throw new Error('mine')
  }
  const summary = await evaluate(model, plan('thrown'), { onProgress })
  await new Promise(setImmediate)
  process.off('warning', listen)
  t.is(summary.policies.length, 2)
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['W_CALLBACK'],
  )
})

for (const [option, options] of [
  ['onprogress', { onprogress() {} }],
  ['onProgress', { onProgress: 'no' }],
  ['signal', { signal: {} }],
] as const) {
  test(`an option that cannot be right is refused: ${Object.keys(options)[0]} ${typeof Object.values(options)[0]}`, async (t) => {
    const error = await t.throwsAsync(evaluate(model, plan('bad'), options as never), { instanceOf: SkimError })
    t.is(error!.code, 'ERR_INVALID_ARG')
    t.is(error!.details['option'], option)
  })
}

test('plans are checked', async (t) => {
  await t.throwsAsync(evaluate(model, { ...plan('bad'), tasks: ['needles'] }), {
    instanceOf: SkimError,
    code: 'ERR_INVALID_ARG',
  })
  await t.throwsAsync(evaluate(model, { ...plan('bad'), caes: 1 } as never), { code: 'ERR_INVALID_ARG' })
  await t.throwsAsync(calibrate(model, { text: join(folder, 'none'), name: 'x' }), { code: 'ERR_INVALID_ARG' })
  const nan = await t.throwsAsync(evaluate(model, { ...plan('bad'), lengths: [NaN] }), { instanceOf: SkimError })
  t.is(nan!.details['option'], 'plan.lengths[0]')
  const share = await t.throwsAsync(calibrate(model, { text, name: 'x', keep: 2 }), { instanceOf: SkimError })
  t.is(share!.details['option'], 'plan.keep')
  await t.throwsAsync(evaluate(model, { ...plan('bad'), output: join(text, 'below') }), { code: 'ERR_STORAGE' })
  await t.throwsAsync(evaluate({} as never, plan('bad')), { code: 'ERR_INVALID_ARG' })
})
