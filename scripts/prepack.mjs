// Before any packing: what is packed must have been built, and its native part carries no debug information.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const native = join(root, 'native')

if (process.argv[1] === fileURLToPath(import.meta.url)) prepare()

export function prepare() {
  const binaries = existsSync(native) ? readdirSync(native).filter((name) => name.endsWith('.node')) : []
  if (binaries.length === 0 || !existsSync(join(root, 'dist/index.js'))) {
    console.error('There is nothing to pack: run `npm run build:release` first.')
    process.exit(1)
  }
  // A release build has been stripped by cargo. Elsewhere than on Linux, stripping would undo the signature.
  if (process.platform !== 'linux') return
  for (const name of binaries) execFileSync('strip', ['--strip-unneeded', join(native, name)])
}
