import { readFileSync } from 'node:fs'
import test from 'ava'
import { type Policy, type PolicyKind, SkimError, parsePolicy, policies } from '../index.js'
import { policyOptions, presets } from '../src/policy-table.js'

test('flags become policies', (t) => {
  t.deepEqual(parsePolicy('full'), { kind: 'full' })
  t.deepEqual(parsePolicy('gemfilter'), { kind: 'gemfilter' })
  t.deepEqual(parsePolicy(' gemfilter:budget=1024, layer=13 '), { kind: 'gemfilter', budget: 1024, layer: 13 })
  t.deepEqual(parsePolicy('gemfilter:budget=10%'), { kind: 'gemfilter', budget: { ratio: 0.1 } })
  t.deepEqual(parsePolicy('gemfilter:ratio=0.25'), { kind: 'gemfilter', budget: { ratio: 0.25 } })
  t.deepEqual(parsePolicy('gemfilter:ratio=25%'), { kind: 'gemfilter', budget: { ratio: 0.25 } })
  t.deepEqual(parsePolicy('gemfilter:budget.coverage=90%,budget.max=10%,fallbackBelow=5%,score.quota.share=20%'), {
    kind: 'gemfilter',
    budget: { coverage: 0.9, max: { ratio: 0.1 } },
    fallbackBelow: 0.05,
    score: { quota: { share: 0.2 } },
  } as Policy)
  t.deepEqual(parsePolicy('auto:recall=95%'), { kind: 'auto', recall: 0.95 })
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

test('nested options, lists and JSON values are read', (t) => {
  t.deepEqual(
    parsePolicy('gemfilter:score.heads=[{"layer":2,"head":4},{"layer":3,"head":1}],score.pool=null,layer=3'),
    {
      kind: 'gemfilter',
      score: {
        heads: [
          { layer: 2, head: 4 },
          { layer: 3, head: 1 },
        ],
        pool: null,
      },
      layer: 3,
    },
  )
  t.deepEqual(parsePolicy('promptdistill:stages.0.layer=9,stages.0.budget=25%,stages.1.layer=13,stages.1.budget=512'), {
    kind: 'promptdistill',
    stages: [
      { layer: 9, budget: { ratio: 0.25 } },
      { layer: 13, budget: 512 },
    ],
  })
  t.deepEqual(parsePolicy('snapkv-paper:budget=512'), { ...policies.preset('snapkv-paper'), budget: 512 })
  t.deepEqual(parsePolicy('promptdistill-paper:stages.0.layer=15'), {
    ...(policies.preset('promptdistill-paper') as Extract<Policy, { kind: 'promptdistill' }>),
    stages: [{ ...(presets['promptdistill-paper'] as { stages: object[] }).stages[0], layer: 15 }],
  } as Policy)
})

test('every kind has a factory and takes each of its options from a flag', (t) => {
  for (const [kind, names] of Object.entries(policyOptions)) {
    t.deepEqual(policies[kind as PolicyKind](), { kind } as Policy)
    for (const name of Object.keys(names)) t.deepEqual(parsePolicy(`${kind}:${name}=1`), { kind, [name]: 1 } as never)
  }
})

interface Part {
  $ref?: string
  const?: string
  properties?: Record<string, Part>
  items?: Part
  oneOf?: Part[]
  anyOf?: Part[]
}

const schema = JSON.parse(readFileSync(new URL('../docs/policies.schema.json', import.meta.url), 'utf8')) as Part & {
  $defs: Record<string, Part>
}
const resolve = (part: Part): Part => (part.$ref ? schema.$defs[part.$ref.split('/').at(-1)!]! : part)

/** Every dotted name at and below a part of the schema. */
function namesOf(part: Part, at: string): string[] {
  const { properties = {}, items, oneOf = [], anyOf = [] } = resolve(part)
  const below = [...Object.entries(properties), ...(items ? [['0', items] as const] : [])].flatMap(([name, inner]) =>
    namesOf(inner, at === '' ? name : `${at}.${name}`),
  )
  return [...(at === '' ? [] : [at]), ...below, ...[...oneOf, ...anyOf].flatMap((one) => namesOf(one, at))]
}

test('the schema knows every kind and preset', (t) => {
  const kinds = Object.values(schema.$defs).flatMap(({ properties }) => properties?.['kind']?.const ?? [])
  t.deepEqual(kinds, Object.keys(policyOptions))
  for (const preset of Object.values(presets)) t.true(kinds.includes(preset.kind))
})

for (const part of schema.oneOf!) {
  const { properties = {} } = resolve(part)
  const { kind, ...own } = properties
  test(`all that the schema allows of ${kind!.const} can be written as a flag`, (t) => {
    t.deepEqual(Object.keys(policyOptions[kind!.const as PolicyKind]), Object.keys(own))
    for (const name of namesOf({ properties: own }, ''))
      t.notThrows(() => parsePolicy(`${kind!.const}:${name}=1`), name)
  })
}

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
  ['gemfilter:bugdet=4', 'policy.bugdet', /did you mean budget/],
  ['gemfilter:pins.sink=4', 'policy.pins.sink', /did you mean sinks/],
  ['gemfilter:layer.x=4', 'policy.layer.x', /no options/],
  ['promptdistill:stages.first.layer=4', 'policy.stages.first', /number of an element/],
  ['promptdistill:stages.0.layr=4', 'policy.stages[0].layr', /did you mean layer/],
  ['full:budget=4', 'policy.budget', /no options/],
  ['gemfilter:budget', 'policy.budget', /option=value/],
  ['{"kind":"gemfilter","x":1}', 'policy.x', /layer/],
  ['{"kind":"gemfilter-paper"}', 'policy.kind', /firstlast \(did you mean gemfilter\?\)/],
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
  for (const path of [
    '__proto__.x',
    'pins.__proto__',
    'score.__proto__.y',
    'pins.constructor.z',
    'stages.0.__proto__.y',
  ])
    t.throws(() => parsePolicy(`promptdistill:${path}=1`), { code: 'ERR_INVALID_ARG' }, path)
  t.false('y' in {})
})
