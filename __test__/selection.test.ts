import test from 'ava'
import { type Prompt, SkimError } from '../index.js'
import { wantsColor } from '../src/color.js'
import { type SelectionData, makeSelection } from '../src/selection.js'
import { bar, wrap, toCells } from '../src/terminal.js'

type Kept = {
  index: number
  start: number
  end: number
  score?: number
  source?: number
  message?: number
  text?: string
}

function data(promptTokens: number, kept: Kept[]): SelectionData {
  return {
    policy: { kind: 'gemfilter', budget: kept.length },
    layer: 15,
    budget: kept.length,
    reason: 'asked for',
    promptTokens,
    indices: Uint32Array.from(kept, (k) => k.index),
    scores: Float32Array.from(kept, (k) => k.score ?? 0.5),
    ids: Uint32Array.from(kept, (k) => 100 + k.index),
    texts: kept.map((k) => k.text ?? `<${k.index}>`),
    sources: Uint8Array.from(kept, (k) => k.source ?? 0),
    messages: Int32Array.from(kept, (k) => k.message ?? -1),
    starts: Uint32Array.from(kept, (k) => k.start),
    ends: Uint32Array.from(kept, (k) => k.end),
  }
}

const document = 'Call me Ishmael. Some years ago 🐋 swam by.'
const words: Kept[] = [
  { index: 1, start: 0, end: 4, score: 0.25 },
  { index: 2, start: 4, end: 7, score: 0.75 },
  { index: 4, start: 17, end: 21 },
  { index: 8, start: 32, end: 34 },
  { index: 9, start: 32, end: 34 },
  { index: 12, start: 0, end: 3, source: 1 },
  { index: 15, start: 0, end: 0, source: 2 },
]
const selection = makeSelection(data(16, words), { document, question: 'Who?' })

test('tokens can be asked for one by one and in a loop', (t) => {
  t.deepEqual(selection.at(0), { index: 1, id: 101, text: '<1>', score: 0.25, source: 'document', start: 0, end: 4 })
  t.is(selection.at(-1).source, 'template')
  t.is(selection.at(5).source, 'question')
  t.deepEqual(
    Array.from(selection, (token) => token.index),
    [...selection.indices],
  )
  for (const i of [7, -8, 0.5, NaN]) t.throws(() => selection.at(i), { instanceOf: SkimError, code: 'ERR_INVALID_ARG' })
})

test('spans join neighbours, hold whole characters and leave question and template out', (t) => {
  const spans = selection.spans()
  t.deepEqual(
    spans.map((span) => span.text),
    ['Call me', 'Some', '🐋'],
  )
  t.deepEqual(spans[0], { start: 0, end: 7, text: 'Call me', firstIndex: 1, lastIndex: 2, score: 0.75 })
  for (const span of spans) t.is(document.slice(span.start, span.end), span.text)
})

test('joinGap bridges what was not kept', (t) => {
  t.deepEqual(
    selection.spans({ joinGap: 10 }).map((span) => span.text),
    ['Call me Ishmael. Some', '🐋'],
  )
  t.is(selection.spans({ joinGap: 1000 }).length, 1)
  t.throws(() => selection.spans({ joinGap: -1 }), { code: 'ERR_INVALID_ARG' })
})

test('the kept text is ready to send', (t) => {
  t.is(selection.toText(), 'Call me … Some … 🐋')
  t.is(selection.toText({ joinGap: 10, ellipsis: '\n' }), 'Call me Ishmael. Some\n🐋')
})

test('spans of a chat name their message and never cross it', (t) => {
  const chat = makeSelection(
    data(9, [
      { index: 2, start: 0, end: 5, message: 0 },
      { index: 4, start: 0, end: 5, message: 1 },
      { index: 5, start: 5, end: 6, message: 1 },
    ]),
    [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'World!' },
    ],
  )
  t.deepEqual(
    chat.spans({ joinGap: 9 }).map(({ text, message }) => [text, message]),
    [
      ['Hello', 0],
      ['World!', 1],
    ],
  )
  t.is(chat.at(1).message, 1)
})

test('bare tokens are joined by their places in the prompt', (t) => {
  const bare = makeSelection(
    data(5, [
      { index: 0, start: 0, end: 0, text: 'a' },
      { index: 1, start: 0, end: 0, text: 'b' },
      { index: 3, start: 0, end: 0, text: 'c' },
    ]),
    { tokens: new Uint32Array(5) },
  )
  t.is(bare.toText({ ellipsis: '|' }), 'ab|c')
})

test('the terminal shows bare tokens as it shows text', (t) => {
  const text = ['a\x1b[2J', 'long '.repeat(8)]
  const kept = text.map((own, i) => ({ index: 2 * i, start: 0, end: 0, text: own }))
  const bare = makeSelection(data(5, kept), { tokens: new Uint32Array(5) })
  const shown = bare.toTerminal({ width: 20, color: false })
  t.deepEqual(shown.split('\n').slice(2), ['', '[a␛[2J]', '', '[long long long long', 'long long long long', ']'])
})

test('coverage is the kept share of every stretch', (t) => {
  t.deepEqual([...selection.coverage(4)], [0.5, 0.25, 0.5, 0.5])
  const uneven = makeSelection(
    data(
      5,
      [0, 1, 4].map((index) => ({ index, start: 0, end: 0 })),
    ),
    document,
  )
  t.deepEqual([...uneven.coverage(2)], [Math.fround(2 / 3), 0.5])
  t.deepEqual([...uneven.coverage(10)], [1, 0, 1, 0, 0, 0, 0, 0, 1, 0])
  t.is(selection.coverage().length, 64)
  t.throws(() => selection.coverage(0), { code: 'ERR_INVALID_ARG' })
})

test('JSON is plain and small', (t) => {
  const json = JSON.parse(JSON.stringify(selection))
  t.deepEqual(Object.keys(json), ['policy', 'layer', 'promptTokens', 'indices', 'scores'])
  t.deepEqual(json.indices, [1, 2, 4, 8, 9, 12, 15])
})

test('the terminal shows kept text in its surroundings', (t) => {
  const text = selection.toTerminal({ width: 60, color: false, context: 3 })
  t.regex(text, /kept 7 of 16 prompt tokens \(43\.8 %\), layer 15/)
  t.regex(text, /\[Call me\] Is…/)
  t.regex(text, /…l\. \[Some\] ye…/)
  t.regex(text, /…go \[🐋\] sw…/)
})

test('surroundings that meet are shown once', (t) => {
  const text = selection.toTerminal({ width: 200, color: false, context: 40 })
  t.true(text.endsWith('\n[Call me] Ishmael. [Some] years ago [🐋] swam by.'), text)
})

test('colour is what the terminal and its variables say', (t) => {
  const tty = { isTTY: true }
  t.true(wantsColor(tty, {}))
  t.false(wantsColor({ isTTY: false }, {}))
  t.false(wantsColor(tty, { TERM: 'dumb' }))
  t.true(wantsColor({ isTTY: false }, { FORCE_COLOR: '1' }))
  t.false(wantsColor(tty, { FORCE_COLOR: '0' }))
  t.false(wantsColor(tty, { FORCE_COLOR: '1', NO_COLOR: '1' }))
})

test('lines keep to the width and colours end with the line', (t) => {
  const colored = selection.toTerminal({ width: 20, color: true, context: 40 }).split('\n').slice(3)
  t.true(colored.length > 2)
  for (const line of colored) {
    t.regex(line, /^\x1b\[0;[12]m.*\x1b\[0m$/u)
    t.true([...line.replace(/\x1b\[[\d;]*m/g, '')].length <= 20)
  }
})

test('NO_COLOR is obeyed', (t) => {
  const before = process.env
  const under = (variables: NodeJS.ProcessEnv) => {
    process.env = variables
    try {
      return selection.toTerminal({ context: 5 })
    } finally {
      process.env = before
    }
  }
  t.regex(under({ FORCE_COLOR: '1' }), /\x1b/)
  t.notRegex(under({ FORCE_COLOR: '1', NO_COLOR: '1' }), /\x1b/)
})

test('a document cannot drive the terminal', (t) => {
  const line = wrap(toCells('a\x1b[2Jb\x07\u202ec\n\td', true), 80, false)
  t.deepEqual(line, ['[a␛[2Jb␇\ufffdc d]'])
})

test('a bar shows every share that is not 0', (t) => {
  t.is(bar(Float32Array.of(0, 0.01, 0.5, 1)), ' ▁▄█')
})

test('the page shows the whole text, kept parts marked by score', (t) => {
  const html = selection.toHTML({ title: 'a <b>', theme: 'dark' })
  t.true(html.startsWith('<!doctype html>'))
  t.regex(html, /<title>a &lt;b&gt;<\/title>/)
  t.regex(html, /kept 7 of 16 prompt tokens/)
  t.is(html.match(/<i style/g)?.length, 128)
  const text = /<p class="skimlm-text">(.*)<\/p>/s.exec(html)![1]!
  t.is(text.replace(/<\/?mark[^>]*>/g, ''), document)
  t.is(text.replace(/<\/mark><mark[^>]*>/g, '').match(/<mark/g)?.length, selection.spans().length)
})

test('the page shows messages of which nothing was kept, but not those of the system', (t) => {
  const chat = makeSelection(data(9, [{ index: 4, start: 0, end: 5, message: 2 }]), [
    { role: 'system', content: 'Be short.' },
    { role: 'user', content: 'Hello' },
    { role: 'assistant', content: 'World!' },
  ])
  const texts = (html: string) => Array.from(html.matchAll(/<p class="skimlm-text">(.*?)<\/p>/gs), ([, text]) => text)
  t.deepEqual(texts(chat.toHTML()), ['Hello', '<mark class="s4">World</mark>!'])
  const none = makeSelection(data(9, [{ index: 8, start: 0, end: 4, source: 1 }]), {
    document: 'Hello',
    question: 'Who?',
  })
  t.deepEqual(texts(none.toHTML()), ['Hello'])
})

test('the page marks the question where it is part of what it shows', (t) => {
  const question: Kept = { index: 6, start: 0, end: 4, source: 1 }
  const shown = (kept: Kept[], prompt: Prompt) =>
    makeSelection(data(9, kept), prompt)
      .toHTML()
      .match(/<p class="skimlm-text">.*<\/p>/gs)
  const chat: Prompt = [
    { role: 'system', content: 'Be short.' },
    { role: 'user', content: 'Who?' },
  ]
  const template: Kept = { index: 1, start: 0, end: 2, source: 2, message: 0 }
  const marked = ['<p class="skimlm-text"><mark class="s4">Who?</mark></p>']
  t.deepEqual(shown([template, { ...question, message: 1 }], chat), marked)
  t.deepEqual(shown([question], 'Who?'), marked)
  t.deepEqual(shown([question], { document: 'Hello', question: 'Who?' }), ['<p class="skimlm-text">Hello</p>'])
})

test('a document cannot write into the page', (t) => {
  const hostile = '<script>alert("1")</script>\0\u202e&'
  const kept = makeSelection(data(3, [{ index: 1, start: 8, end: 17 }]), { document: hostile, question: '?' })
  const html = kept.toHTML({ standalone: false, theme: 'light' })
  t.true(html.startsWith('<div class="skimlm">'))
  t.notRegex(html, /<script|\0|\u202e/)
  t.true(html.includes('&lt;script&gt;<mark class="s4">alert(&quot;1&quot;</mark>)&lt;/script&gt;␀\ufffd&amp;'), html)
  t.throws(() => kept.toHTML({ theme: 'blue' as never }), { code: 'ERR_INVALID_ARG' })
})

test('the page of bare tokens shows their own texts', (t) => {
  const bare = makeSelection(data(3, [{ index: 1, start: 0, end: 0, text: 'a' }]), { tokens: new Uint32Array(3) })
  t.regex(bare.toHTML({ standalone: false }), /<p class="skimlm-text"><mark class="s4">a<\/mark><\/p>/)
})
