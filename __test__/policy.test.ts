import test from 'ava'
import { SkimError, parsePolicy, policies } from '../index.js'

test('flags become policies', (t) => {
  t.deepEqual(parsePolicy('full'), { kind: 'full' })
  t.deepEqual(parsePolicy('gemfilter'), { kind: 'gemfilter' })
  t.deepEqual(parsePolicy(' gemfilter:budget=1024, layer=13 '), { kind: 'gemfilter', budget: 1024, layer: 13 })
  t.deepEqual(parsePolicy('gemfilter:budget=10%'), { kind: 'gemfilter', budget: { ratio: 0.1 } })
  t.deepEqual(parsePolicy('gemfilter:ratio=0.25'), { kind: 'gemfilter', budget: { ratio: 0.25 } })
  t.deepEqual(parsePolicy('gemfilter:positions=original'), { kind: 'gemfilter', positions: 'original' })
  t.deepEqual(parsePolicy('gemfilter:pins.sinks=4,pins.question=false,score.softmax=true'), {
    kind: 'gemfilter',
    pins: { sinks: 4, question: false },
    score: { softmax: true },
  })
  t.deepEqual(parsePolicy('{"kind":"gemfilter","score":{"heads":[{"layer":2,"head":4}]}}'), {
    kind: 'gemfilter',
    score: { heads: [{ layer: 2, head: 4 }] },
  })
})

test('presets have names', (t) => {
  t.deepEqual(parsePolicy('gemfilter-paper'), policies.preset('gemfilter-paper'))
  t.like(policies.preset('gemfilter-paper'), { kind: 'gemfilter', budget: 1024, score: { queries: 'last' } })
  t.not(policies.preset('gemfilter-paper'), policies.preset('gemfilter-paper'))
})

test('factories add the kind', (t) => {
  t.deepEqual(policies.gemfilter({ budget: 5 }), { kind: 'gemfilter', budget: 5 })
  t.deepEqual(policies.full(), { kind: 'full' })
})

const refusals: [string, string, RegExp][] = [
  ['gemfliter', 'policy.kind', /gemfilter/],
  ['', 'policy.kind', /full/],
  ['gemfilter:bugdet=4', 'policy.bugdet', /budget/],
  ['full:budget=4', 'policy.budget', /no options/],
  ['gemfilter:budget', 'policy.budget', /option=value/],
  ['{"kind":"gemfilter","x":1}', 'policy.x', /layer/],
  ['{"kind":', 'policy', /JSON/],
]
for (const [flag, option, message] of refusals)
  test(`refused: ${flag || 'the empty flag'}`, (t) => {
    const error = t.throws(() => parsePolicy(flag), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })!
    t.is(error.details['option'], option)
    t.regex(error.message, message)
  })

test('an unknown preset answers with the known ones', (t) => {
  const error = t.throws(() => policies.preset('paper' as never), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })!
  t.regex(error.message, /gemfilter-paper/)
})

test('option names do not reach prototypes', (t) => {
  t.throws(() => parsePolicy('gemfilter:__proto__.x=1'), { code: 'ERR_INVALID_ARG' })
  const policy = parsePolicy('gemfilter:pins.__proto__=7,score.__proto__.y=1')
  t.is(Object.getPrototypeOf(policy), Object.prototype)
  t.false('y' in {})
})
