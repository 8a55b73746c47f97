import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { nameOf, sourceOf } from '../src/cli/flags.js'
import { firstBadByte } from '../src/cli/input.js'
import { Pace } from '../src/cli/render/pace.js'
import { table } from '../src/cli/render/table.js'
import { bytes, duration } from '../src/cli/render/units.js'
import type { EvaluationSummary } from '../index.js'
import { file, folder, skimlm, story } from './command.js'
import { startHub } from './hub-server.js'
import { tinyModel } from './tiny.js'

for (const [args, says] of [
  [['ask'], /missing required argument/],
  [['ask', '--polcy', 'full', 'why?'], /Did you mean --policy\?/],
  [['aks', 'why?'], /Did you mean ask\?/],
  [['ask', '--policy', 'gemfiltre', 'why?'], /--policy.*gemfiltre.*one of auto, full, gemfilter/s],
  [['ask', '--top-k', 'many', 'why?'], /It must be a number/],
  [['ask', '--seed', '1.5', 'why?'], /It must be a whole number/],
  [['ask', '--dtype', 'q9', 'why?'], /q8_0/],
  [['ask', '--kv-dtype', 'q4_k', 'why?'], /q8_0/],
  [['ask', '--activations', 'int4', 'why?'], /int8/],
  [['ask', '--overflow', 'drop', 'why?'], /truncate-middle/],
  [['ask', 'who', 'opened', 'it?'], /in quotes/],
  [['ask', 'model.gguf'], /the question is missing/],
  [['select', '--text', '--json', 'why?'], /cannot be used with/],
  [['eval'], /--file.*a text to hide facts in/s],
  [['eval', '--benchmark', 'squad:qa.json'], /longbench, ruler, infinitebench, needle and a path/],
  [
    ['eval', '--benchmark', 'ruler:qa.jsonl', '--templates', 'prompts.json'],
    /--templates.*longbench or infinitebench/s,
  ],
  [['eval', '--benchmark', 'ruler:qa.jsonl', '--as-published'], /--as-published.*needle folder/s],
  [['calibrate'], /--file.*a text to hide facts in/s],
  [['compare', '--policies', 'full,gemfiltre', 'why?'], /--policies.*gemfiltre.*one of auto, full, gemfilter/s],
  [['pull', '--revision', 'abc'], /--revision.*given with a hub id/],
  [['inspect', '--hub-file', 'a.gguf'], /--hub-file.*given with a hub id/],
] as const) {
  test(`usage: ${args.join(' ')}`, async (t) => {
    const { code, out, err } = await skimlm([...args])
    t.is(code, 2)
    t.is(out, '')
    t.regex(err, says)
  })
}

test('a model has one name, however it is given', (t) => {
  const name = (model?: string, revision?: string) =>
    nameOf(sourceOf(model, revision === undefined ? {} : { revision }))
  const before = process.env['SKIMLM_MODEL']
  t.teardown(() => {
    delete process.env['SKIMLM_MODEL']
    if (before !== undefined) process.env['SKIMLM_MODEL'] = before
  })
  delete process.env['SKIMLM_MODEL']
  t.is(name(), 'smollm2-135m')
  t.is(name('/models/a.gguf'), 'a')
  t.is(name('owner/m'), 'm')
  t.is(name('owner/m', 'x'), 'm')
  process.env['SKIMLM_MODEL'] = 'owner/n'
  t.is(name(), 'n')
  t.is(name(undefined, 'x'), 'n')
})

test('help and version go to stdout and are no failure', async (t) => {
  const help = await skimlm(['ask', '--help'])
  t.is(help.code, 0)
  t.regex(help.out, /SKIMLM_MAX_NEW_TOKENS/)
  t.is(help.err, '')
  t.regex((await skimlm(['--version'])).out, /^\d+\.\d+\.\d+\n$/)
})

test('a model that is not there', async (t) => {
  await file('story-15m.gguf', 'x')
  const missing = await skimlm(['ask', join(folder, 'story-16m.gguf'), 'why?'])
  t.is(missing.code, 1)
  t.is(missing.err.split('\n').length, 2, missing.err)
  t.true(missing.err.startsWith('error ERR_MODEL_NOT_FOUND: '))
  t.true(missing.err.includes('story-15m.gguf'))
  const offline = await skimlm(['pull'])
  t.is(offline.code, 1)
  t.regex(offline.err, /^error ERR_HUB: .*skimlm pull smollm2-135m/)
  const traced = await skimlm(['--debug', 'pull'])
  t.regex(traced.err, /\n {4}at /)
})

test('a variable that says no is a no', async (t) => {
  const { err } = await skimlm(['inspect', 'nothing/here'], {
    env: { SKIMLM_OFFLINE: '0', SKIMLM_HUB_ENDPOINT: 'http://127.0.0.1:9' },
  })
  t.regex(err, /ERR_HUB: http:\/\/127\.0\.0\.1:9\/api/)
})

test('a document that is missing, a folder, or not UTF-8', async (t) => {
  const missing = await skimlm(['ask', '-f', join(folder, 'nothing.txt'), 'why?'])
  t.is(missing.code, 2)
  t.regex(missing.err, /nothing\.txt cannot be read: there is no such file/)
  t.regex((await skimlm(['ask', '-f', folder, 'why?'])).err, /it is a folder/)
  const latin = Buffer.concat([Buffer.from('voilà un '), Buffer.from([0x63, 0x61, 0x66, 0xe9]), Buffer.from(' noir')])
  const bad = await skimlm(['ask', '-f', '-', 'why?'], { stdin: latin })
  t.is(bad.code, 2)
  t.regex(bad.err, /^error ERR_INVALID_ARG: stdin is not UTF-8: byte 13 is 0xe9/)
})

test('the first bad byte, wherever it stands', (t) => {
  const good = Buffer.from('aé漢🙂'.repeat(40))
  for (const bad of [[0xff], [0x80], [0xc3], [0xe6, 0xbc], [0xf0, 0x9f, 0x99], [0xed, 0xa0, 0x80], [0xc0, 0xaf]]) {
    for (const rest of [Buffer.alloc(0), Buffer.from('x'), good, Buffer.alloc(20, 0x80)]) {
      for (const before of [0, 1, 3, 6, 10, 200, good.length]) {
        const text = good.subarray(0, before)
        const bytesOf = Buffer.concat([text, Buffer.from(bad), rest])
        // What Node replaces first, in bytes; the replacement itself does not occur in the text.
        const said = Buffer.byteLength(bytesOf.toString('utf8').split('\ufffd')[0] as string)
        if (firstBadByte(bytesOf) !== said)
          t.fail(`${before} ${bad} ${rest.length}: ${firstBadByte(bytesOf)} != ${said}`)
      }
    }
  }
  t.is(firstBadByte(Buffer.from([0xff])), 0)
})

test('ask: the answer on stdout and nothing else; the rest on stderr', async (t) => {
  const model = await tinyModel()
  const document = await file('story.txt', story)
  const args = ['ask', model, '-f', document, 'Who rowed?', '--max-new-tokens', '6', '--policy', 'gemfilter:budget=40']
  const plain = await skimlm(args)
  t.is(plain.code, 0, plain.err)
  t.true(plain.out.endsWith('\n'))
  const full = await skimlm([...args, '--timings', '--show-selection'])
  t.is(full.out, plain.out)
  t.regex(full.err, /kept \d+ of \d+ prompt tokens/)
  t.regex(full.err, /skim .*\n.*select .*\n.*read .*\n.*first token .*\n.*write /)
  t.false(full.err.includes('\x1b'))
  const colored = await skimlm([...args, '--show-selection'], { env: { FORCE_COLOR: '1' } })
  t.true(colored.err.includes('\x1b['))
  const uncolored = await skimlm([...args, '--show-selection'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })
  t.false(uncolored.err.includes('\x1b['))
})

test('ask --json: one line, the result as the library gives it', async (t) => {
  const model = await tinyModel()
  const { code, out, err } = await skimlm(['ask', model, '-f', '-', 'Who rowed?', '--json'], {
    stdin: story,
    env: { SKIMLM_MAX_NEW_TOKENS: '3', SKIMLM_POLICY: 'gemfilter:budget=40' },
  })
  t.is(code, 0, err)
  t.is(out.trimEnd().split('\n').length, 1)
  const result = JSON.parse(out)
  t.is(typeof result.text, 'string')
  t.true(result.usage.newTokens <= 3)
  t.is(result.selection.policy.kind, 'gemfilter')
  t.is(result.selection.indices.length, result.usage.keptTokens)
  t.true(result.timings.ttftMs > 0)
  t.true(['stop', 'length'].includes(result.finishReason))
})

test('select: text for people, for machines, for another model', async (t) => {
  const model = await tinyModel()
  const document = await file('story2.txt', story)
  const args = ['select', model, '-f', document, 'Who rowed?', '--policy', 'gemfilter:budget=40']
  const json = await skimlm([...args, '--json'])
  t.is(json.code, 0, json.err)
  const selection = JSON.parse(json.out)
  t.is(selection.indices.length, selection.scores.length)
  t.regex((await skimlm(args)).out, /^kept \d+ of \d+ prompt tokens/)
  const text = await skimlm([...args, '--text'])
  t.is(text.code, 0)
  t.true(text.out.length > 1 && text.out.length < story.length)
  const page = join(folder, 'page.html')
  t.is((await skimlm([...args, '--html', page])).code, 0)
  t.regex(await readFile(page, 'utf8'), /<title>Who rowed\?<\/title>.*<mark/s)
  const nowhere = await skimlm([...args, '--html', join(folder, 'none', 'page.html')])
  t.is(nowhere.code, 1)
  t.regex(nowhere.err, /ERR_STORAGE: .*page\.html cannot be written/)
})

test('select prints its remarks as ask does', async (t) => {
  const args = ['select', await tinyModel(), '-f', '-', 'Who rowed?', '--policy', 'gemfilter:budget=4096']
  const { code, out, err } = await skimlm(args, { stdin: story, env: { NODE_NO_WARNINGS: '1' } })
  t.is(code, 0, err)
  t.regex(out, /^kept \d+ of \d+ prompt tokens/)
  t.regex(err, /^warning W_POLICY_NOOP: /m)
  const plain = await skimlm(args, { stdin: story })
  t.regex(plain.err, /^warning W_POLICY_NOOP: /m)
  t.notRegex(plain.err, /\(node:|trace-warnings/)
})

test('calibrate: a profile that could not be written is refused before the work', async (t) => {
  const book = await file('calibrated.txt', story)
  const out = join(folder, 'none', 'profile.json')
  const nowhere = await skimlm(['calibrate', await tinyModel(), '-f', book, '-o', out])
  t.is(nowhere.code, 1)
  t.regex(nowhere.err, /ERR_STORAGE: .*profile\.json cannot be written/)
})

test('a value the model refuses is a usage error, with the code', async (t) => {
  const { code, err } = await skimlm(['ask', await tinyModel(), 'why?', '--top-p', '2'])
  t.is(code, 2)
  t.regex(err, /^error ERR_INVALID_ARG: .*topP/)
})

test('a failure under --json is one line of JSON on stderr', async (t) => {
  const refused = await skimlm(['ask', await tinyModel(), 'why?', '--top-p', '2', '--json'])
  t.is(refused.code, 2)
  t.is(refused.out, '')
  t.is(refused.err.trimEnd().split('\n').length, 1, refused.err)
  const { code, message, details, ...rest } = JSON.parse(refused.err)
  t.is(code, 'ERR_INVALID_ARG')
  t.regex(message, /topP/)
  t.is(details.value, 2)
  t.deepEqual(rest, {})
  const absent = await skimlm(['--debug', 'inspect', join(folder, 'none.gguf')], { env: { SKIMLM_JSON: '1' } })
  t.is(absent.code, 1)
  t.like(JSON.parse(absent.err), { code: 'ERR_MODEL_NOT_FOUND' })
  t.regex(JSON.parse(absent.err).stack, /\n {4}at /)
})

test('inspect: a table and JSON', async (t) => {
  const model = await tinyModel()
  const people = await skimlm(['inspect', model])
  t.is(people.code, 0, people.err)
  t.regex(people.out, /architecture +llama/)
  const info = JSON.parse((await skimlm(['inspect', '--json'], { env: { SKIMLM_MODEL: model } })).out)
  t.is(info.path, model)
  t.true(info.layers > 0 && info.bytes > 0)
  t.regex(people.out, /rope +default, base 10,000/)
  // 6 layers, 2 heads of 8 for keys and values, 2 bytes a number; 8 bytes of bookkeeping.
  t.regex(people.out, /KV cache +3\.5 MB for the whole context/)
  t.regex(people.out, /memory by prompt +2,048 +8,192\nauto +\d+ MB +\d+ MB\nfull +\d+ MB +\d+ MB\n/)
  t.is(info.memory.length, 2 * info.supportedPolicies.length)
  const bad = await skimlm(['inspect', await file('page.gguf', '<!doctype html><p>not here')])
  t.is(bad.code, 1)
  t.regex(bad.err, /^error ERR_MODEL_CORRUPT: /)
})

test('inspect: a memory table of one policy and some lengths', async (t) => {
  const model = await tinyModel()
  const policy = 'gemfilter:budget=64'
  const { code, out, err } = await skimlm(['inspect', model, '--tokens', '512,1024', '--policy', policy, '--json'])
  t.is(code, 0, err)
  const { memory } = JSON.parse(out) as { memory: { promptTokens: number; policy: object; total: number }[] }
  t.deepEqual(
    memory.map(({ promptTokens }) => promptTokens),
    [512, 1024],
  )
  t.deepEqual(memory[0]!.policy, { kind: 'gemfilter', budget: 64 })
  t.true(memory[0]!.total < memory[1]!.total)
  const words = await skimlm(['inspect', model, '--tokens', 'many'])
  t.is(words.code, 2)
  const negative = await skimlm(['inspect', model, '--tokens=-1'])
  t.is(negative.code, 2)
  t.regex(negative.err, /ERR_INVALID_ARG: .*promptTokens/)
  // The test model's heads have 8 numbers, a block 32.
  const narrow = await skimlm(['inspect', model, '--kv-dtype', 'q8_0'])
  t.is(narrow.code, 2)
  t.regex(narrow.err, /ERR_INVALID_ARG: .*kvDtype/)
})

test('inspect: what will not load is named', async (t) => {
  const whole = await readFile(await tinyModel())
  const at = whole.indexOf('smollm', whole.indexOf('tokenizer.ggml.pre'))
  whole.write('mellow', at)
  const path = await file('mellow.gguf', whole)
  const people = await skimlm(['inspect', path])
  t.is(people.code, 0, people.err)
  t.regex(people.out, /unsupported +The pre-tokenizer `mellow` is not supported/)
  const { unsupported } = JSON.parse((await skimlm(['inspect', path, '--json'])).out) as { unsupported: string[] }
  t.is(unsupported.length, 1)
  whole.write('xlama', whole.indexOf('llama', whole.indexOf('general.architecture')))
  const strange = await skimlm(['inspect', await file('xlama.gguf', whole), '--json'])
  t.is(strange.code, 1)
  t.regex(strange.err, /ERR_MODEL_UNSUPPORTED.*xlama.*llama, mistral/s)
})

test('doctor names what is missing and how to mend it', async (t) => {
  const { code, out } = await skimlm(['doctor'])
  t.is(code, 0, out)
  t.regex(out, /note {2}default model .*is not there\n +fix .*skimlm pull/)
  const { checks } = JSON.parse((await skimlm(['doctor', '--json'])).out) as {
    checks: { name: string; state: string }[]
  }
  t.true(checks.some((check) => check.name === 'native binding' && check.state === 'ok'))
  t.true(checks.some((check) => check.name === 'device cpu'))
})

test('doctor names the kernels in use and those there are', async (t) => {
  const kernels = async (level: string) => {
    const { code, out } = await skimlm(['doctor', '--json'], { env: { SKIMLM_KERNELS: level } })
    const { checks } = JSON.parse(out) as { checks: { name: string; state: string; found: string; fix?: string }[] }
    return { code, ...checks.find((check) => check.name === 'kernels')! }
  }
  t.like(await kernels('reference'), { code: 0, state: 'ok' })
  t.regex((await kernels('reference')).found, /^reference as SKIMLM_KERNELS asks, of reference, scalar/)
  const { found } = await kernels('')
  t.regex(found, /^\w+, of reference, scalar/)
  if (found.includes('avx2')) t.regex(found, /\(avx2, fma/)
  const none = await kernels('fast')
  t.like(none, { code: 1, state: 'bad' })
  t.regex(none.found, /fast.*no such level/)
  t.regex(none.fix!, /Unset SKIMLM_KERNELS/)
})

test('the type of the cache is a flag or an environment variable', async (t) => {
  const path = await tinyModel('head=32')
  const inspect = async (args: string[], env = {}) => {
    const { code, out, err } = await skimlm(
      ['inspect', path, '--tokens', '1000', '--policy', 'full', '--json', ...args],
      { env },
    )
    t.is(code, 0, err)
    return (JSON.parse(out) as { memory: { kvCache: number }[] }).memory[0]!.kvCache
  }
  const eight = await inspect(['--kv-dtype', 'q8_0'])
  t.is(await inspect([], { SKIMLM_KV_DTYPE: 'q8_0' }), eight)
  t.true(eight < 0.6 * (await inspect([])))
})

test('units and tables', (t) => {
  t.deepEqual([0, 999, 1000, 98_362_432, 999_999, 12e12].map(bytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '98 MB',
    '1.0 MB',
    '12 TB',
  ])
  t.deepEqual([0.25, 42, 12_345].map(duration), ['0.3 ms', '42 ms', '12.35 s'])
  t.is(
    table([
      ['a', '1'],
      ['long', '100'],
    ]),
    'a       1\nlong  100\n',
  )
})

test('the time left is guessed from the steps of this run', (t) => {
  let now = 1000
  const pace = new Pace(() => now)
  t.is(pace.left(40, 100), '')
  now += 8000
  t.is(pace.left(44, 100), ', about 2 min left')
  t.is(pace.left(60, 100), ', about 16 s left')
  t.is(pace.left(100, 100), '')
})

test('eval: tables on stdout, files in the folder, and nothing measured twice', async (t) => {
  const lines = Array.from(
    { length: 400 },
    (_, i) => `The keeper wrote line ${i} about ${'aeiou'[i % 5]}${i} and rope.`,
  )
  const book = await file('book.txt', lines.join(' '))
  const out = join(folder, 'measured')
  const flags = ['-f', book, '--tasks', 'needle', '--lengths', '300', '--cases', '2', '--control', '50%', '-o', out]
  // `random` is a control, too, and is measured once: as it was asked for.
  const args = ['eval', await tinyModel(), ...flags, '--policies', 'snapkv:budget=64,random:budget=64']
  const first = await skimlm(args)
  t.is(first.code, 0, first.err)
  t.regex(first.out, /against full +evidence/)
  t.regex(first.out, /all single facts 300: snapkv +2 /)
  t.regex(first.out, /needle 300: bm25 +2 /)
  const records = await readFile(join(out, 'records.jsonl'), 'utf8')
  t.is(records.trimEnd().split('\n').length, 10)
  const second = await skimlm([...args, '--json'])
  t.is(await readFile(join(out, 'records.jsonl'), 'utf8'), records)
  const summary = JSON.parse(second.out) as EvaluationSummary
  t.deepEqual(
    summary.policies.map((cell) => cell.policy),
    ['full', 'snapkv', 'random', 'firstlast', 'bm25'],
  )
})

test('compare asks under every policy and prints one table', async (t) => {
  const document = await file('compare.txt', story)
  const policies = 'full,gemfilter:budget=80,layer=2,h2o:heavy=30,recent=20'
  const args = ['compare', await tinyModel(), 'Who?', '-f', document, '--policies', policies, '-n', '4']
  const { code, out, err } = await skimlm(args)
  t.is(code, 0, err)
  const [head, ...rows] = out.trimEnd().split('\n')
  t.regex(head ?? '', /policy +kept +first token/)
  t.deepEqual(
    rows.map((row) => row.split(' ')[0]),
    ['full', 'gemfilter', 'h2o'],
  )
  t.regex(rows[0] ?? '', /10\/10/)
  t.regex(rows[1] ?? '', /^gemfilter +80 /)
})

test('serve fetches no model where it cannot listen', async (t) => {
  // A hub that never answers, whose own port is the one asked for.
  const hub = await startHub(() => {})
  const env = { SKIMLM_OFFLINE: '0', SKIMLM_HUB_ENDPOINT: hub.endpoint }
  const { code, err } = await skimlm(['serve', 'some/model', '--port', new URL(hub.endpoint).port], { env })
  await hub.close()
  t.is(code, 1)
  t.regex(err, /EADDRINUSE/)
  t.true(hub.hits.length <= 1, 'asked again after the first silence')
})
