import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { run } from '../src/cli/program.js'
import { file, folder, outcome, start, story } from './command.js'
import { tinyModel } from './tiny.js'

// A reward for repeating itself keeps a random model from ever finding its end token.
const endless = ['Go on.', '--max-new-tokens', '90000', '--repetition-penalty', '0.1']

test('the first Ctrl-C prints what there is', async (t) => {
  const child = start(['ask', await tinyModel('positions=100000'), ...endless])
  const end = outcome(child)
  child.stdout.once('data', () => child.kill('SIGINT'))
  const { code, out, err } = await end
  t.is(code, 130, err)
  t.true(out.length > 1 && out.endsWith('\n'))
})

test('the first Ctrl-C under --json ends in a result that says so', async (t) => {
  const model = await tinyModel('positions=100000')
  const child = start(['ask', model, ...endless, '--json', '--policy', 'gemfilter:budget=20', '--show-selection'])
  const end = outcome(child)
  child.stderr.once('data', () => child.kill('SIGINT'))
  const { code, out } = await end
  t.is(code, 130)
  t.is(JSON.parse(out).finishReason, 'cancelled')
})

test('Ctrl-C ends a calibration without a profile', async (t) => {
  const book = await file('calibrated.txt', story.repeat(40))
  const out = join(folder, 'stopped.json')
  const args = ['calibrate', await tinyModel(), '-f', book, '--lengths', '300', '--cases', '50', '-o', out]
  // In this process, because a child could be hit before it listens, and says nothing of its progress to a pipe.
  const before = process.listeners('SIGINT')
  const end = run(['node', 'skimlm', ...args])
  const own = () => process.listeners('SIGINT').filter((listener) => !before.includes(listener))
  while (own().length === 0) await new Promise(setImmediate)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  for (const interrupt of own()) interrupt('SIGINT')
  t.is(await end, 130)
  await t.throwsAsync(readFile(out), { code: 'ENOENT' })
})

test('a reader that leaves early ends the command without noise', async (t) => {
  const child = start(['ask', await tinyModel('positions=100000'), ...endless])
  let err = ''
  child.stderr.on('data', (part: Buffer) => (err += part.toString()))
  child.stdout.once('data', () => child.stdout.destroy())
  t.is(await new Promise((resolve) => child.on('close', resolve)), 0)
  t.is(err, '')
})
