import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Command } from 'commander'
import { invalidOption } from '../../errors.js'
import { serve } from '../../serve/server.js'
import type { Policy } from '../../types.js'
import { type ModelFlags, addModelFlags, flag, modelByDefault, nameOf, policyFlag, sourceOf, whole } from '../flags.js'
import { interruptible } from '../interrupt.js'
import { openModel } from '../open.js'
import { ProgressLine } from '../render/progress.js'

interface Flags extends ModelFlags {
  host: string
  port: number
  policy?: Policy
  apiKey?: string
}

export function serveCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('serve')
    .summary('answer over HTTP, as the OpenAI interface has it')
    .description(
      'Serves v1/chat/completions, v1/completions, v1/models, health and metrics until it is interrupted. A request may name ' +
        'a `policy` (as this flag has it, or as JSON) and ask for its `selection`.',
    )
    .argument('[model]', `a path, a hub id or a built-in name ${modelByDefault}`)
  addModelFlags(command)
    .addOption(flag('--host <name>', 'the address to listen on').default('127.0.0.1'))
    .addOption(flag('--port <n>', 'the port to listen on; 0: any', whole).default(8080))
    .addOption(flag('--api-key <key>', 'the bearer token to ask for; the environment is the safer place'))
    .addOption(policyFlag())
    .action(async (model: string | undefined, flags: Flags) => done(await run(model, flags)))
}

async function run(name: string | undefined, flags: Flags): Promise<number> {
  const { host, port, policy, apiKey } = flags
  if (port < 0 || port > 65_535) throw invalidOption('--port', port, 'a whole number from 0 to 65535')
  return interruptible(async ({ signal }) => {
    const source = sourceOf(name, flags)
    const failed = new AbortController()
    const loading = openModel(name, flags, new ProgressLine(), AbortSignal.any([signal, failed.signal]))
    const server = serve(loading, {
      name: nameOf(source),
      ...(policy ? { policy } : {}),
      ...(apiKey ? { apiKey } : {}),
    })
    try {
      server.listen({ host, port })
      await once(server, 'listening', { signal })
      const { address, family, port: taken } = server.address() as AddressInfo
      await loading
      process.stdout.write(`http://${family === 'IPv6' ? `[${address}]` : address}:${taken}\n`)
      if (!signal.aborted) await once(signal, 'abort')
    } finally {
      // A server that cannot listen needs no model.
      failed.abort()
      server.close()
      server.closeAllConnections()
      await loading.then(
        (model) => model.dispose(),
        () => {},
      )
    }
  })
}
