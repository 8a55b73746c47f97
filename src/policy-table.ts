// Written by `npm run gen` from the registry of policies in crates/policies.
import type { Policy, PolicyKind, PresetName } from './policy-types.js'

/** The names below an option: none, those of an object, or those of each element of a list. */
export type OptionNames = null | readonly [OptionNames] | { readonly [name: string]: OptionNames }

/** The options of every kind of policy. */
export const policyOptions: Readonly<Record<PolicyKind, { readonly [name: string]: OptionNames }>> = {
  auto: { recall: null },
  full: {},
  gemfilter: {
    budget: { ratio: null, coverage: null, max: { ratio: null }, min: null },
    fallbackBelow: null,
    layer: null,
    pins: { chargeBudget: null, last: null, question: null, sinks: null, system: null, template: null },
    positions: null,
    score: {
      contrast: null,
      heads: [{ head: null, layer: null, weight: null }],
      layers: null,
      pool: { edge: null, kind: null, width: null },
      queries: { window: null },
      quota: { share: null, spans: null },
      round: { chunk: null },
      softmax: null,
    },
    stages: [
      {
        budget: { ratio: null, coverage: null, max: { ratio: null }, min: null },
        layer: null,
        score: {
          contrast: null,
          heads: [{ head: null, layer: null, weight: null }],
          layers: null,
          pool: { edge: null, kind: null, width: null },
          queries: { window: null },
          quota: { share: null, spans: null },
          round: { chunk: null },
          softmax: null,
        },
      },
    ],
  },
  promptdistill: {
    pins: { chargeBudget: null, last: null, question: null, sinks: null, system: null, template: null },
    positions: null,
    queryToken: null,
    stages: [
      {
        budget: { ratio: null, coverage: null, max: { ratio: null }, min: null },
        layer: null,
        score: {
          contrast: null,
          heads: [{ head: null, layer: null, weight: null }],
          layers: null,
          pool: { edge: null, kind: null, width: null },
          queries: { window: null },
          quota: { share: null, spans: null },
          round: { chunk: null },
          softmax: null,
        },
      },
    ],
    truncateStages: null,
    zeroTail: null,
  },
  snapkv: { budget: null, edge: null, headMode: null, kernel: null, pool: null, window: null },
  pyramidkv: { budget: null, headMode: null, slope: null, window: null },
  adakv: { budget: null, floor: null, window: null },
  h2o: { decodeEvict: null, headMode: null, heavy: null, positions: null, recent: null },
  tova: { budget: null },
  knorm: { budget: null },
  keydiff: { budget: null },
  sinkwindow: { recent: null, sink: null },
  anllm: { anchors: [null], last: null, question: null, sinks: null },
  random: {
    budget: { ratio: null, coverage: null, max: { ratio: null }, min: null },
    pins: { chargeBudget: null, last: null, question: null, sinks: null, system: null, template: null },
    seed: null,
  },
  firstlast: {
    budget: { ratio: null, coverage: null, max: { ratio: null }, min: null },
    pins: { chargeBudget: null, last: null, question: null, sinks: null, system: null, template: null },
  },
}

/** Published settings, by name. */
export const presets: Readonly<Record<PresetName, Policy>> = {
  'gemfilter-paper': {
    budget: 1024,
    kind: 'gemfilter',
    pins: { last: 0, question: false, sinks: 0, system: false, template: false },
    score: {
      heads: 'sum',
      pool: { edge: 'zero', kind: 'avg', width: 5 },
      queries: 'last',
      round: 'token',
      softmax: false,
    },
  },
  'promptdistill-paper': {
    kind: 'promptdistill',
    pins: { chargeBudget: true, last: 0, question: false, sinks: 0, system: false, template: false },
    stages: [
      {
        budget: 1024,
        layer: 13,
        score: {
          heads: 'mean',
          pool: { edge: 'zero', kind: 'avg', width: 5 },
          queries: 'last',
          round: 'token',
          softmax: false,
        },
      },
    ],
    truncateStages: 0,
    zeroTail: true,
  },
  'snapkv-paper': { budget: 1024, edge: 'zero', headMode: 'query', kernel: 7, kind: 'snapkv', pool: 'max', window: 32 },
  'snapkv-gemfilter': {
    budget: 1024,
    edge: 'zero',
    headMode: 'query',
    kernel: 5,
    kind: 'snapkv',
    pool: 'avg',
    window: 32,
  },
  'h2o-gemfilter': {
    decodeEvict: false,
    headMode: 'query',
    heavy: 4064,
    kind: 'h2o',
    positions: 'original',
    recent: 32,
  },
  'h2o-upstream': {
    decodeEvict: true,
    headMode: 'query',
    heavy: 1024,
    kind: 'h2o',
    positions: 'original',
    recent: 1024,
  },
  'h2o-streaming': { decodeEvict: true, headMode: 'query', heavy: 4, kind: 'h2o', positions: 'fresh', recent: 2000 },
  'anllm-paper': { anchors: 'sentence', kind: 'anllm', last: 0, question: false, sinks: 0 },
}
