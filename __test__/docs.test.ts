import { readFile } from 'node:fs/promises'
import test from 'ava'

const types = ['generation-types', 'load-types', 'policy-types', 'selection-types', 'types']
const files = ['errors', 'inspect', 'kernels', 'load', 'policy', 'reference', 'study', ...types]

/** Lines of exported declarations, and of their members, that no doc comment stands above; the formatter sees to the layout. */
function undocumented(source: string): string[] {
  const lines = source.split('\n')
  const missing: string[] = []
  let inside = false
  lines.forEach((line, i) => {
    const documented = /(\*\/|^ *\/\/ .*)$/.test(lines[i - 1] ?? '')
    if (/^export (?!\{|type [*{])/.test(line)) {
      if (!documented) missing.push(line)
      inside = /^export (interface|class) .*\{$/.test(line)
    } else if (/^\S/.test(line) && line !== '  ') {
      inside = inside && /^ {2}|^extends/.test(line)
    } else if (inside && /^ {2}(?!constructor|override |kind: '|#|\})[\w[][\w.\]]*.*[:(]/.test(line) && !documented) {
      missing.push(line)
    }
  })
  return missing
}

for (const file of files) {
  test(`all that ${file}.ts makes public is described`, async (t) => {
    t.deepEqual(undocumented(await readFile(new URL(`../src/${file}.ts`, import.meta.url), 'utf8')), [])
  })
}

test('the check sees what is missing', (t) => {
  const source = `/** Here. */
export interface A {
  a: number
  /** There. */
  b(): void
  readonly c?: string
  kind: 'a'
}
export function f(): void {
  const x: number = 1
}
`
  t.deepEqual(undocumented(source), ['  a: number', '  readonly c?: string', 'export function f(): void {'])
})
