/// Bounds are the caller's duty (`gather::rows_into` checks them once for all rows).
pub(super) fn rows_into<T: Copy>(src: &[T], width: usize, indices: &[u32], out: &mut [T]) {
    if width == 0 {
        return;
    }
    for (out, &i) in out.chunks_exact_mut(width).zip(indices) {
        out.copy_from_slice(&src[i as usize * width..(i as usize + 1) * width]);
    }
}
