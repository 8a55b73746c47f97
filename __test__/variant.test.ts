import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { findVariant } from '../src/variant.js'
import { scratch } from './tiny.js'

const libc = process.platform === 'linux' ? '-gnu' : process.platform === 'win32' ? '-msvc' : ''

function folder(content?: string): { binding: string; path: string } {
  const at = mkdtempSync(join(scratch, 'variant-'))
  const path = join(at, `skimlm.${process.platform}-${process.arch}${libc}-cuda.node`)
  if (content !== undefined) writeFileSync(path, content)
  return { binding: join(at, 'binding.cjs'), path }
}

const answer = { status: 0, signal: null, stdout: '', stderr: '' }

test('without the binary nothing is asked', (t) => {
  const { binding } = folder()
  const { path, reason } = findVariant(binding, () => t.fail() as never)
  t.is(path, undefined)
  t.regex(reason, /CPU only.*build:cuda/)
})

test('a binary that lists a usable GPU is taken', (t) => {
  const { binding, path } = folder('')
  const usable = { id: 'cuda:0', name: 'H100', totalBytes: 2, freeBytes: 1 }
  const stdout = JSON.stringify([{ ...usable, id: 'cpu' }, usable])
  t.deepEqual(
    findVariant(binding, () => ({ ...answer, stdout })),
    { path, reason: '' },
  )
})

test('a binary whose GPUs are all refused says the first reason', (t) => {
  const { binding } = folder('')
  const stdout = JSON.stringify([{ id: 'cpu' }, { id: 'cuda', reason: 'The driver is too old.' }])
  t.deepEqual(
    findVariant(binding, () => ({ ...answer, stdout })),
    { reason: 'The driver is too old.' },
  )
})

test('a binary that does not load says what is missing', (t) => {
  const { binding } = folder('')
  const says = (stderr: string, more = {}) =>
    findVariant(binding, () => ({ ...answer, status: 1, stderr, ...more })).reason
  const absent = (file: string) => `Error: ${file}: cannot open shared object file: No such file or directory`
  t.is(says(absent('libcuda.so.1')), 'There is no NVIDIA driver: libcuda.so.1 is absent.')
  t.is(says(absent('libcublas.so.13')), 'A library of CUDA 13 is absent: libcublas.so.13.')
  t.regex(says('', { status: null, signal: 'SIGSEGV' }), /SIGSEGV/)
  t.regex(says('', { status: null, error: Object.assign(new Error('no'), { code: 'ETIMEDOUT' }) }), /30 seconds/)
  t.regex(says('Error: undefined symbol: cuInit'), /undefined symbol/)
})

test('a file that is no binary ends the child and not the process', (t) => {
  const { binding } = folder('no binary')
  const { path, reason } = findVariant(binding)
  t.is(path, undefined)
  t.regex(reason, /does not load/)
})
