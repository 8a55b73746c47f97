// Everything that continuous integration checks, in order; the first failure ends it.
import { spawn } from 'node:child_process'

const steps = [
  'cargo fmt --check',
  'prettier --check .',
  'cargo lint',
  'oxlint --deny-warnings',
  'cargo suite',
  'npm run --silent build:native',
  'npm run --silent build:ts',
  'npm run --silent test:types',
  'npm run --silent gen -- --check',
  'npm run --silent gen:notices -- --check',
  'npm run --silent test',
  'npm run --silent check:package',
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
    const child = spawn(command, { shell: true, stdio: ['inherit', 'pipe', 'inherit'] })
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
