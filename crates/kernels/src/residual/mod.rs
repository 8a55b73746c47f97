//! The residual connection.

#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use crate::error::{Result, invalid};

/// `y += x`, **in place**: the plain loop is the definition and, bound by memory, in pieces on all threads the fast form too.
///
/// Shapes: `y` and `x` `[rows, width]` f32, contiguous. The caller must own `y`: every tensor that
/// shares its storage changes with it. candle's own `+` would wake a thread pool of its own.
pub fn add(y: &Tensor, x: &Tensor) -> Result<()> {
    if y.dims() != x.dims() {
        return invalid("residual", format!("y is {:?}, x is {:?}", y.dims(), x.dims()));
    }
    on_gpu!(y, |gpu| cuda::add(gpu, y, x));
    Ok(y.inplace_op2(x, &Add)?)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_at: &Layout, x: &CpuStorage, x_at: &Layout) -> candle_core::Result<()> {
        let (Some((y_start, y_end)), Some((x_start, x_end))) = (y_at.contiguous_offsets(), x_at.contiguous_offsets())
        else {
            candle_core::bail!("residual: contiguous tensors are required");
        };
        let (CpuStorage::F32(y), CpuStorage::F32(x)) = (y, x) else {
            candle_core::bail!("residual: activations must be f32");
        };
        let x = &x[x_start..x_end];
        crate::rows::each(&mut y[y_start..y_end], 1, |first, y| {
            y.iter_mut().zip(&x[first..]).for_each(|(y, x)| *y += x);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_kernel_adds() {
        crate::testing::each_gpu!(|gpu| {
            let (x, y) = (
                crate::testing::tensor(1, &[3, 200], &Device::Cpu),
                crate::testing::tensor(2, &[3, 200], &Device::Cpu),
            );
            let (got, want) = (y.copy().unwrap(), (&y + &x).unwrap());
            let got = crate::testing::on(gpu, &got);
            cuda::add(gpu, &got, &crate::testing::on(gpu, &x)).unwrap();
            assert_eq!(crate::testing::flat(&got), crate::testing::flat(&want));
        });
    }

    #[test]
    fn pieces_on_all_threads_are_the_whole() {
        let (x, y) = (
            crate::testing::tensor(1, &[301, 577], &Device::Cpu),
            crate::testing::tensor(2, &[301, 577], &Device::Cpu),
        );
        let want = (&y + &x).unwrap();
        crate::threads::Threads::new(3).unwrap().install(|| add(&y, &x).unwrap());
        assert_eq!(crate::testing::flat(&y), crate::testing::flat(&want));
    }

    #[test]
    fn a_slice_of_a_tensor_is_added() {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
        let y = Tensor::new(&[[10f32, 20.0], [30.0, 40.0]], &Device::Cpu).unwrap();
        add(&y, &x.narrow(0, 1, 2).unwrap()).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[13.0, 24.0], [35.0, 46.0]]);
        assert!(add(&y, &x).is_err());
    }
}
