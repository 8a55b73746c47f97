use super::*;

/// All that this processor has.
fn all() -> Vec<Integers> {
    let found = [
        Avx2::<false>::find().map(Integers::Avx2),
        Avx2::<true>::find().map(Integers::Fused),
        Vnni::find().map(Integers::Vnni),
    ];
    for (found, name) in found.iter().zip(["AVX2", "AVX-VNNI", "AVX-512 VNNI"]) {
        if found.is_none() {
            skipped!("no {name}");
        }
    }
    found.into_iter().flatten().collect()
}

/// The first lane of what a packing makes of lanes.
struct Dot<L>(i32, i32, i32, std::marker::PhantomData<L>);

impl<L: Packing> WithPairs for Dot<L> {
    type Output = i32;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> i32 {
        let simd = pairs.simd();
        let [acc, a, b] = [self.0, self.1, self.2].map(|x| simd.splat_i32s(x));
        let mut out = [0; MOST];
        keep(simd, &mut out, L::dot(pairs, acc, a, b));
        out[0]
    }
}

struct Powers<'a>(&'a mut [f32]);

impl WithPairs for Powers<'_> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        for x in self.0.chunks_exact_mut(P::LANES) {
            let v = pairs.power(load::<P::Simd>(x));
            store::<P::Simd>(x, v);
        }
    }
}

/// Rounds, narrows, joins and finds the largest, all at once.
struct Round<'a>(&'a [f32], &'a mut [i16], &'a mut [i32]);

impl WithPairs for Round<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> f32 {
        let simd = pairs.simd();
        let mut peak = simd.splat_u32s(0);
        let outs = self.1.chunks_exact_mut(P::LANES).zip(self.2.chunks_exact_mut(P::LANES));
        for (x, (halves, joined)) in self.0.chunks_exact(P::LANES).zip(outs) {
            let x = load::<P::Simd>(x);
            peak = simd.max_u32s(peak, magnitude(simd, x));
            let ints = pairs.nearest(x);
            pairs.narrow(ints, halves);
            keep(simd, joined, join(simd, ints, add(simd, ints, simd.splat_i32s(1))));
        }
        pairs.peak(peak)
    }
}

struct Columns<'a>(&'a [[i32; 16]; MOST], &'a mut [i32]);

impl WithPairs for Columns<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> usize {
        pairs.columns(self.0, self.1, 20);
        P::LANES
    }
}

#[test]
fn powers_are_as_good_as_weights_need() {
    for simd in all() {
        let xs: Vec<f32> = (0..64_000).map(|i| -100.0 + i as f32 * 0.0025).collect();
        let mut out = xs.clone();
        simd.run(Powers(&mut out));
        for (&x, &got) in xs.iter().zip(&out) {
            assert!((f64::from(got) / f64::from(x).exp2() - 1.0).abs() < 3.1e-6, "2^{x} = {got}");
        }
        let mut ends = [0.0f32; MOST];
        ends[..5].copy_from_slice(&[0.0, f32::NEG_INFINITY, f32::MIN, f32::NAN, -127.5]);
        simd.run(Powers(&mut ends));
        assert_eq!(ends[..3], [1.0, 0.0, 0.0]);
        assert!(ends[3].is_nan() && ends[4] < 1e-38);
    }
}

#[test]
fn halves_are_signed_and_added() {
    let dot = |simd: Integers, a: i16, b: i16| {
        let pair = |x: i16| i32::from(x) << 16 | i32::from(x as u16);
        simd.run(Dot::<Halves>(1, pair(a), pair(b), Default::default()))
    };
    for simd in all() {
        assert_eq!(dot(simd, -3, 5), -29);
        assert_eq!(dot(simd, 32767, 32767), 2 * 32767 * 32767 + 1);
        assert_eq!(dot(simd, -32768, 32767), -2 * 32768 * 32767 + 1);
    }
}

#[test]
fn bytes_are_unsigned_times_signed() {
    for simd in all() {
        for (a, b) in [([1, 2, 3, 4], [5, -6, 7, -8]), ([255; 4], [-128; 4]), ([255, 0, 255, 128], [127; 4])] {
            let sum: i32 = a.iter().zip(&b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
            let (a, b) = (i32::from_le_bytes(a), i32::from_le_bytes(b.map(|b: i8| b as u8)));
            assert_eq!(simd.run(Dot::<Quarters>(-9, a, b, Default::default())), sum - 9);
        }
    }
}

#[test]
fn numbers_become_the_nearest_integers() {
    let xs: Vec<f32> = (0..64).map(|i| (i - 30) as f32 * 1733.7).collect();
    for simd in all() {
        let (mut halves, mut joined) = ([0i16; 64], [0i32; 64]);
        assert_eq!(simd.run(Round(&xs, &mut halves, &mut joined)), xs[63]);
        for ((x, &half), &pair) in xs.iter().zip(&halves).zip(&joined) {
            let nearest = x.round_ties_even() as i32;
            assert_eq!(i32::from(half), nearest.clamp(-32768, 32767), "{x}");
            assert_eq!(pair, (nearest + 1) << 16 | nearest & 0xffff, "{x}");
        }
        let mut odd = xs.clone();
        odd[37] = f32::NAN;
        assert!(simd.run(Round(&odd, &mut halves, &mut joined)).is_nan());
    }
}

#[test]
fn rows_become_columns() {
    let from: [[i32; 16]; MOST] = from_fn(|r| from_fn(|c| (100 * r + c) as i32));
    for simd in all() {
        let mut to = [-1; 15 * 20 + MOST];
        let lanes = simd.run(Columns(&from, &mut to));
        for (i, &got) in to.iter().enumerate() {
            let (c, r) = (i / 20, i % 20);
            assert_eq!(got, if r < lanes { (100 * r + c) as i32 } else { -1 }, "row {r}, column {c}");
        }
    }
}
