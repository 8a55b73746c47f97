export { defaultModel, findBuiltin } from './builtin.js'
export { builtinPath, resolveModel, verifyBuiltin } from './resolve.js'
export { hubKeys, hubSettings, isSet } from './settings.js'
