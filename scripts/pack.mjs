// Packs what would be published, into target/package: the package itself, without a binary, and one package with the binary
// of each platform that has been built, which the first names as an optional dependency. `npm run build:release` comes first.
// (`npm pack` alone makes one tarball for this platform, the binary inside.)
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepack.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const out = join(root, 'target/package')
const papers = ['LICENSE-APACHE', 'LICENSE-MIT', 'THIRD-PARTY.md']
const manifest = read(join(root, 'package.json'))

prepare()
rmSync(out, { recursive: true, force: true })
const packages = platforms()
main(Object.fromEntries(packages.map(({ name, version }) => [name, version])))
for (const folder of ['skimlm', ...packages.map(({ folder }) => folder)]) pack(join(out, folder))

/** The packages with binaries, as napi-rs lays them out; platforms that have not been built are left out. */
function platforms() {
  const napi = join(root, 'node_modules/.bin/napi')
  execFileSync(napi, ['create-npm-dirs', '--npm-dir', 'target/package'], { cwd: root, stdio: ['ignore', 'ignore', 2] })
  return readdirSync(out).flatMap((folder) => {
    const { name, version, main: binary } = read(join(out, folder, 'package.json'))
    const built = join(root, 'native', binary)
    if (!existsSync(built)) {
      rmSync(join(out, folder), { recursive: true })
      return []
    }
    for (const [from, to] of [[built, binary], ...papers.map((paper) => [join(root, paper), paper])])
      copyFileSync(from, join(out, folder, to))
    write(join(out, folder, 'package.json'), (json) => json.files.push(...papers))
    return [{ folder, name, version }]
  })
}

function main(optionalDependencies) {
  const folder = join(out, 'skimlm')
  mkdirSync(join(folder, 'native'), { recursive: true })
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  for (const name of ['native/binding.cjs', 'native/binding.d.cts', 'README.md', ...papers])
    copyFileSync(join(root, name), join(folder, name))
  const ours = ['private', 'scripts', 'devDependencies', 'overrides', 'napi', 'ava', 'c8']
  const rest = Object.fromEntries(Object.entries(manifest).filter(([key]) => !ours.includes(key)))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...rest, optionalDependencies }, null, 2))
}

function pack(folder) {
  const [{ filename, size, unpackedSize }] = JSON.parse(
    execFileSync('npm', ['pack', folder, '--json', '--pack-destination', out], { cwd: out, encoding: 'utf8' }),
  )
  const mb = (bytes) => (bytes / 1e6).toFixed(2)
  console.log(`${filename}: ${mb(size)} MB, ${mb(unpackedSize)} MB unpacked`)
}

function read(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function write(path, change) {
  const json = read(path)
  change(json)
  writeFileSync(path, JSON.stringify(json, null, 2))
}
