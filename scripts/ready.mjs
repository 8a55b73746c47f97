// Everything that continuous integration checks, in order; the first failure ends it.
import { execFileSync, spawn } from 'node:child_process'

// Nothing is compiled twice. The addon's tool names a target, whose artefacts lie in a folder of their own, so every step
// names it; and what features a dependency is compiled with depends on all that one command builds, so the addon is built
// beside the rest. What an incremental build needs next time costs more than it saves here.
const host = execFileSync('rustc', ['--print', 'host-tuple'], { encoding: 'utf8' }).trim()
const env = { CARGO_BUILD_TARGET: host, CARGO_INCREMENTAL: '0', ...process.env }

const steps = [
  'npm run --silent format:check',
  'cargo lint',
  'oxlint --deny-warnings',
  'cargo suite',
  'npm run --silent build:native -- -- --locked --workspace --lib --example tiny',
  'npm run --silent build:ts',
  'npm run --silent test:types',
  'npm run --silent gen -- --check',
  'npm run --silent gen:notices -- --check',
  'npm run --silent test',
  'npm run --silent check:package',
  'npm run --silent check:cuda -- --kernels',
]

const tests = { passed: 0, failed: 0 }

for (const step of steps) {
  console.log(`\n> ${step}`)
  const code = await run(step)
  if (code === 0) continue
  console.log(`\n\`${step}\` ended with code ${code}.`)
  process.exitCode = 1
  break
}
console.log(`\n${tests.passed} passed, ${tests.failed} failed`)

/** Runs a command with its output passed on, and counts the tests that it reports. */
function run(command) {
  return new Promise((resolve) => {
    const child = spawn(command, { env, shell: true, stdio: ['inherit', 'pipe', 'inherit'] })
    let line = ''
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text) => {
      process.stdout.write(text)
      const lines = (line + text).split('\n')
      line = lines.pop() ?? ''
      lines.forEach(count)
    })
    child.on('close', (code, signal) => {
      count(line)
      resolve(code ?? signal)
    })
  })
}

/** Cargo: `test result: ok. 3 passed; 1 failed; ...`; ava: `3 tests passed`, `1 test failed`; a skipped test is neither. */
function count(line) {
  const cargo = /^test result: .*? (\d+) passed; (\d+) failed/.exec(line)
  if (cargo) {
    tests.passed += Number(cargo[1])
    tests.failed += Number(cargo[2])
  }
  const ava = /^\s*(\d+) (?:tests? (passed|failed)|uncaught exceptions?|unhandled rejections?)/.exec(line)
  if (ava) tests[ava[2] === 'passed' ? 'passed' : 'failed'] += Number(ava[1])
}
