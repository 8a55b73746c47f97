import test from 'ava'
import { fileURLToPath } from 'node:url'
import { loadModel, parsePolicy, policies } from '../index.js'

const checkpoint = fileURLToPath(new URL('../models/anchors-tiny', import.meta.url))

const values = new Map([3, 8, 21, 7, 0, 30, 12, 5].map((key, i) => [key, 31 - 3 * i]))
const fillers = (count: number) => Array.from({ length: count }, (_, i) => `f${i * 5}`).join(' ')
const document = [...values]
  .map(([key, value], i) => `${fillers(i)} k${key} v${value} ${fillers(8 - i)} <AC>`)
  .join('\n')

test('the shipped model answers from its anchors, with a tenth of the cache', async (t) => {
  const model = await loadModel(checkpoint)
  try {
    const ask = (key: number, policy: ReturnType<typeof parsePolicy>) =>
      model.generate({ document, question: `? k${key}` }, { policy, maxNewTokens: 2 }).result
    for (const [key, value] of values) {
      const [full, anchors] = await Promise.all([
        ask(key, policies.full()),
        ask(key, parsePolicy('anllm:anchors=<AC>')),
      ])
      t.is(full.text, `v${value}`)
      t.is(anchors.text, `v${value}`)
      // 8 anchors of 89 tokens, the question's two and one generated.
      t.deepEqual(anchors.memory.layerEntries, [11, 11, 11, 11])
      t.true(anchors.memory.kvBytes < 0.13 * full.memory.kvBytes)
    }
    const ids = await model.generate({ document, question: '? k7' }, { policy: policies.anllm({ anchors: [2] }) })
      .result
    t.is(ids.text, `v${values.get(7)}`)
    await t.throwsAsync(async () => model.generate('k7', { policy: policies.anllm({ anchors: '<ac>' }) }).result, {
      code: 'ERR_INVALID_ARG',
      message: /policy\.anchors/,
    })
  } finally {
    await model.dispose()
  }
})
