import { readFile } from 'node:fs/promises'
import test from 'ava'

const types = ['generation-types', 'load-types', 'policy-types', 'selection-types', 'types']
const files = ['errors', 'inspect', 'kernels', 'load', 'policy', 'reference', 'study', ...types]

const ofBody = /^ {2}(?!constructor|override |kind: '|#|\})[\w[][\w.\]]*.*[:(]/
const member: Readonly<Record<string, RegExp>> = { interface: ofBody, class: ofBody, type: /^ +\w+\??: / }

/**
 * Lines of exported declarations, and of members on lines of their own, that no doc comment stands above; the formatter
 * sees to the layout.
 */
function undocumented(source: string): string[] {
  const lines = source.split('\n')
  const missing: string[] = []
  let members: RegExp | undefined
  lines.forEach((line, i) => {
    const documented = lines[i - 1]?.endsWith('*/') === true
    if (/^export (?!\{|type [*{])/.test(line)) {
      if (!documented) missing.push(line)
      members = member[/^export (\w+)/.exec(line)![1]!]
    } else if (/^\S/.test(line)) {
      members = undefined
    } else if (members?.test(line) && !documented) {
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
/** All. */
export type B =
  | string
  | {
      /** One. */
      d: number
      // Two.
      e?: A
    }
export function f(): void {
  const x: number = 1
}
`
  const missing = ['  a: number', '  readonly c?: string', '      e?: A', 'export function f(): void {']
  t.deepEqual(undocumented(source), missing)
})
