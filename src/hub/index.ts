export { type BuiltinModel, builtinModels, defaultModel, findBuiltin } from './builtin.js'
export { builtinPath, resolveModel, verifyBuiltin } from './resolve.js'
export { type HubSettings, cacheDirectory, hubSettings, isSet } from './settings.js'
