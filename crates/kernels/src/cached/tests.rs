use candle_core::{DType, Device, Tensor};
use half::f16;
use proptest::prelude::*;

use super::{BLOCK, Block, Q8_0, Write, close_up, empty, read, reference, width, write};
use crate::gather;
use crate::testing::{flat, levels, numbers, stored, tensor};

const TYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, Q8_0];

fn bytes(of: &Tensor) -> Vec<u8> {
    of.flatten_all().unwrap().to_vec1::<u8>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_lie_where_the_plain_operations_put_them(
        rows in 0usize..300,
        heads in 1usize..5,
        blocks in 1usize..4,
        part in any::<bool>(),
        at in 0usize..7,
        dtype in prop::sample::select(TYPES.to_vec()),
        seed: u64,
    ) {
        let dim = blocks * BLOCK;
        let x = tensor(seed, &[rows, heads, dim], &Device::Cpu);
        let taken = if part { heads - 1..heads } else { 0..heads };
        let wide = width(dtype, dim).unwrap();
        let to = Tensor::zeros((taken.len(), at + rows + 2, wide), dtype, &Device::Cpu).unwrap();
        let want = to.copy().unwrap();
        write(&to, at, &x, taken.clone()).unwrap();
        for level in levels() {
            let other = want.copy().unwrap();
            if rows > 0 {
                other.inplace_op2(&x, &Write { level, at, heads: taken.clone() }).unwrap();
            }
            prop_assert_eq!(flat(&read(&other).unwrap()), flat(&read(&to).unwrap()), "{}", level);
        }
        if rows == 0 {
            prop_assert_eq!(flat(&read(&to).unwrap()), flat(&read(&want).unwrap()));
        } else if dtype == Q8_0 {
            let x = x.narrow(1, taken.start, taken.len()).unwrap().transpose(0, 1).unwrap().contiguous().unwrap();
            let mut packed: Vec<Block> = vec![bytemuck::Zeroable::zeroed(); taken.len() * rows * blocks];
            flat(&x).chunks_exact(BLOCK).zip(&mut packed).for_each(|(x, to)| reference::pack(x, to));
            let packed = Tensor::from_slice(bytemuck::cast_slice::<_, u8>(&packed), (taken.len(), rows, wide), &Device::Cpu);
            want.slice_set(&packed.unwrap(), 1, at).unwrap();
            prop_assert_eq!(bytes(&to), bytes(&want));
        } else {
            reference::write(&want, at, &x, taken).unwrap();
            prop_assert_eq!(flat(&read(&to).unwrap()), flat(&read(&want).unwrap()));
        }
        prop_assert!(write(&to, at + 3, &x, 0..heads + 1).is_err());
    }

    #[test]
    fn kept_rows_close_up_as_gathering_would_have_it(
        capacity in 1usize..200,
        heads in 1usize..4,
        keep in prop::collection::vec(any::<bool>(), 200),
        dtype in prop::sample::select(TYPES.to_vec()),
        seed: u64,
    ) {
        let of = stored(&tensor(seed, &[heads, capacity, 64], &Device::Cpu), dtype);
        let kept: Vec<u32> = (0..capacity as u32).filter(|&i| keep[i as usize]).collect();
        let want = gather::entries(&[&of], 0..heads, &kept).unwrap();
        prop_assert!(close_up(&of, &kept).unwrap());
        let got = of.narrow(1, 0, kept.len()).unwrap();
        if !kept.is_empty() {
            prop_assert_eq!(flat(&read(&got).unwrap()), flat(&read(&want[0]).unwrap()));
        }
        prop_assert!(close_up(&of, &[capacity as u32]).is_err() && close_up(&of, &[1, 0]).is_err());
    }
}

#[test]
fn a_block_is_within_half_a_step_of_its_numbers() {
    for (seed, factor) in [1e-9, 1e-6, 3e-4, 5e-3, 1.0, 900.0, 8e6].into_iter().enumerate() {
        let x: Vec<f32> = numbers(seed as u64, 64 * BLOCK).iter().map(|x| x * factor).collect();
        for x in x.chunks_exact(BLOCK) {
            let (mut block, mut back) = (bytemuck::Zeroable::zeroed(), [0f32; BLOCK]);
            reference::pack(x, &mut block);
            reference::unpack(&block, &mut back);
            let peak = x.iter().fold(0f32, |most, x| most.max(x.abs()));
            let most = (0.502 / 127.0 * peak).max(0.5f32.powi(18));
            for (x, y) in x.iter().zip(back) {
                assert!((x - y).abs() <= most, "{x} became {y} beside {peak}");
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 127.0 * 66000.0] {
        let mut x = numbers(3, 2 * BLOCK);
        x[BLOCK + 5] = bad;
        let x = Tensor::from_vec(x, (1, 1, 2 * BLOCK), &Device::Cpu).unwrap();
        let back = flat(&read(&stored(&x, Q8_0)).unwrap());
        assert!(back[..BLOCK].iter().all(|x| x.is_finite()) && back[BLOCK..].iter().all(|x| x.is_nan()), "{bad}");
    }
    assert_eq!(
        flat(&read(&stored(&Tensor::zeros((1, 1, 32), DType::F32, &Device::Cpu).unwrap(), Q8_0)).unwrap()),
        [0.0; 32]
    );
}

#[test]
fn blocks_are_those_of_gguf_files() {
    let x: Vec<f32> = (0..BLOCK).map(|i| i as f32 - 4.0).collect();
    let bytes = bytes(&stored(&Tensor::from_vec(x, (1, 1, BLOCK), &Device::Cpu).unwrap(), Q8_0));
    assert_eq!(bytes.len(), 34);
    assert_eq!(f16::from_le_bytes([bytes[0], bytes[1]]), f16::from_f32(27.0 / 127.0));
    assert_eq!((bytes[2] as i8, bytes[33] as i8), (-19, 127));
    assert!(width(Q8_0, 48).is_err() && super::dim(Q8_0, 35).is_err());
}

#[test]
fn an_empty_cache_is_zeros_of_its_type() {
    for dtype in [DType::F32, DType::F16, DType::BF16, Q8_0] {
        let empty = empty((2, 3, 34), dtype, &Device::Cpu).unwrap();
        assert_eq!((empty.dims(), empty.dtype()), (&[2, 3, 34][..], dtype));
        assert!(flat(&empty.to_dtype(DType::F32).unwrap()).iter().all(|&x| x == 0.0), "{dtype:?}");
    }
}
