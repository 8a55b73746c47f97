/// Bounds are the caller's duty (`gather::rows_into` checks them once for all rows).
pub(super) fn rows_into<T: Copy + Send + Sync>(src: &[T], width: usize, indices: &[u32], out: &mut [T]) {
    if width == 0 {
        return;
    }
    let out = &mut out[..indices.len() * width];
    crate::rows::each(out, width, |first, out| {
        super::reference::rows_into(src, width, &indices[first..first + out.len() / width], out);
    });
}
