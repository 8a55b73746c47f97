import test from 'ava'
import { perSecond, ratio, showRatio } from '../bench/rounds.js'

test('a speed that an answer does not have is neither shown nor compared', (t) => {
  t.is(perSecond(0), '-')
  t.is(perSecond(20), '20.0 tokens/s')
  t.is(showRatio(ratio([20, 30], [10, 10])), '2.50x (2.00 to 3.00)')
  for (const [base, other] of [
    [
      [0, 0],
      [10, 10],
    ],
    [
      [10, 0],
      [10, 10],
    ],
    [
      [10, 10],
      [10, 0],
    ],
    [
      [0, 10],
      [0, 10],
    ],
  ] as const)
    t.is(showRatio(ratio(base, other)), '-')
})
