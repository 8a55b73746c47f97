// Compiled, never run: what callers may write and what they may not.
import { SkimError, kernels, loadModel, parsePolicy, policies } from '../index.js'
import type { ErrorCode, GenerationEvent, Kernels, Model, Policy, PolicyOptions, Prompt, Selection } from '../index.js'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(equal: Equal<A, B>): void => void equal

export async function calls(): Promise<void> {
  await using model = await loadModel('smollm2-135m', {
    device: 'cuda:0',
    onProgress: (p) => same<typeof p.phase, 'download' | 'weights'>(true),
  })
  same<typeof model, Model>(true)
  await loadModel()
  await loadModel({ hub: 'owner/name', file: 'a.gguf' })
  // @ts-expect-error a source has a path or a hub id
  await loadModel({ file: 'a.gguf' })
  // @ts-expect-error no such device
  await loadModel('a', { device: 'gpu' })

  const generation = model.generate(
    { document: 'a', question: 'b' },
    { policy: { kind: 'gemfilter', budget: { ratio: 0.1 } } },
  )
  for await (const chunk of generation) same<typeof chunk.text, string>(true)
  const result = await generation.result
  same<typeof result.selection, Selection | null>(true)
  for await (const event of model.generate('a').events()) narrow(event)
  const stream: ReadableStream<string> = model.generate('a').toReadableStream()
  await stream.cancel()
  // @ts-expect-error chunks are objects
  for await (const text of model.generate('a')) text.toUpperCase()
  // @ts-expect-error the text is in the result, and asked for
  void model.generate('a').text.length.toFixed(model.generate('a').result.text)
  // @ts-expect-error unknown option
  model.generate('a', { maxTokens: 5 })
  // @ts-expect-error a range is a pair
  model.generate('a', { pins: { text: [[1, 2, 3]] } })
  // @ts-expect-error no such role
  model.generate([{ role: 'tool', content: 'a' }])
  // @ts-expect-error token ids come as Uint32Array
  model.generate({ tokens: [1, 2] })
  // @ts-expect-error read only
  model.info = result
  same<Awaited<ReturnType<Model['select']>>, Selection>(true)
}

function narrow(event: GenerationEvent): void {
  switch (event.type) {
    case 'prefill':
      return same<typeof event.stage, 'filter' | 'prefill'>(true)
    case 'selection':
      return same<typeof event.selection, Selection>(true)
    case 'text':
      return same<typeof event.tokenIds, Uint32Array>(true)
    case 'finish':
      return same<typeof event.result.text, string>(true)
    default:
      return same<typeof event, never>(true)
  }
}

export function policyTypes(): void {
  const policy = policies.gemfilter({ budget: 5, score: { queries: { window: 16 } } })
  same<typeof policy.kind, 'gemfilter'>(true)
  same<ReturnType<typeof parsePolicy>, Policy>(true)
  same<PolicyOptions<'full'>, Omit<{ kind: 'full' }, 'kind'>>(true)
  // @ts-expect-error no such kind
  const unknown: Policy = { kind: 'gemfliter' }
  // @ts-expect-error no such option
  policies.gemfilter({ bugdet: 5 })
  // @ts-expect-error no such preset
  policies.preset('paper')
  void unknown
}

export function others(selection: Selection): void {
  for (const token of selection) same<typeof token.source, 'document' | 'question' | 'template'>(true)
  same<typeof kernels, Kernels>(true)
  const top: Uint32Array = kernels.selectTopK(new Float32Array(4), 2, { order: 'score' })
  // @ts-expect-error 64-bit numbers are not scores
  kernels.selectTopK(new Float64Array(4), 2)
  const error = new SkimError('ERR_HUB', 'a')
  same<typeof error.code, ErrorCode>(true)
  // @ts-expect-error no such code
  if (error.code === 'ERR_OTHER') return
  const prompts: Prompt[] = ['a', [{ role: 'user', content: 'a' }], { tokens: top }]
  void prompts
}
