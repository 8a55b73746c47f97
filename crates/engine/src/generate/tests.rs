use super::*;

#[test]
fn the_likeliest_come_best_first_and_equals_by_id() {
    assert_eq!(most_likely(&[0.5, 2.0, 0.5, 3.0]), [3, 1, 0, 2]);
    assert_eq!(most_likely(&[1.0; TOP]), (0..TOP as u32).collect::<Vec<_>>());
    let many: Vec<f32> = (0..50).map(|i| (i * 7 % 50) as f32).collect();
    let best: Vec<f32> = most_likely(&many).iter().map(|&id| many[id as usize]).collect();
    assert_eq!(best, (40..50).rev().map(|logit| logit as f32).collect::<Vec<_>>());
}

#[test]
fn times_are_in_milliseconds_and_the_first_token_is_no_decoding() {
    let ms = Duration::from_millis;
    let spent = Spent { filter: ms(1), select: ms(2), prefill: ms(3), decode: ms(4) };
    let of = |decode, new_tokens| times(ms(10), ms(20), spent, ms(30), decode, new_tokens);
    let five = Timings {
        queue_ms: 10.0,
        tokenize_ms: 20.0,
        filter_ms: 1.0,
        select_ms: 2.0,
        prefill_ms: 3.0,
        ttft_ms: 40.0,
        decode_ms: 500.0,
        tokens_per_second: 8.0,
    };
    assert_eq!(of(ms(500), 5), five);
    assert_eq!((of(ms(500), 1).tokens_per_second, of(ms(0), 5).tokens_per_second), (0.0, 0.0));
}
