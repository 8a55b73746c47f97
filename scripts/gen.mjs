// Writes what is derived from the Rust registry of policies and from the tables of errors and warnings; `--check` fails where that would
// change something.
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { format, resolveConfig } from 'prettier'
import { errors } from './gen/errors.mjs'
import { page } from './gen/page.mjs'
import { schema } from './gen/schema.mjs'
import { table } from './gen/table.mjs'
import { types } from './gen/types.mjs'

const root = new URL('../', import.meta.url)
const describe = ['run', '--quiet', '--locked', '--example', 'describe']
const policies = JSON.parse(execFileSync('cargo', describe, { cwd: root, encoding: 'utf8', stdio: [0, 'pipe', 2] }))
const whole = schema(policies)
const { errorCodes, warningCodes } = await import('../src/error-codes.ts')

const files = {
  'src/policy-types.ts': await types(policies, whole),
  'src/policy-table.ts': table(policies, whole),
  'docs/policies.schema.json': JSON.stringify(whole),
  'docs/policies.md': page(policies, whole),
  'docs/errors.md': errors(errorCodes, warningCodes),
}
for (const [name, source] of Object.entries(files)) {
  const path = fileURLToPath(new URL(name, root))
  const text = await format(source, { ...(await resolveConfig(path)), filepath: path })
  const before = await readFile(path, 'utf8').catch(() => '')
  if (text === before) continue
  if (process.argv.includes('--check')) {
    console.error(`${name} is out of date: run \`npm run gen\`.`)
    process.exitCode = 1
  } else {
    await mkdir(new URL('.', new URL(name, root)), { recursive: true })
    await writeFile(path, text)
    console.log(`${name} has been written.`)
  }
}
