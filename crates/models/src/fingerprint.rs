use skimlm_core::{FNV_START, fnv1a};

use crate::weights::scan::Listed;

/// Bytes of each tensor that count.
const SAMPLE: usize = 64;

/// A short name for a model's weights: 64-bit FNV-1a over the names, formats and sizes of all tensors and the
/// first bytes of each, as hexadecimal. It recognises a file; it is no proof against forgery.
pub(crate) fn fingerprint(tensors: &[Listed<'_>]) -> String {
    let mut hash = FNV_START;
    let mut add = |bytes: &[u8]| hash = fnv1a(hash, bytes.iter().copied());
    for tensor in tensors {
        add(tensor.name.as_bytes());
        add(tensor.kind.as_bytes());
        add(&tensor.elements.to_le_bytes());
        add(&tensor.bytes[..tensor.bytes.len().min(SAMPLE)]);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sizes_and_first_bytes_count() {
        let of = |name: &str, elements, bytes: &[u8]| {
            fingerprint(&[Listed { name, kind: "F32".into(), block: None, elements, bytes }])
        };
        let one = of("a", 1, &[1, 2]);
        assert_eq!(one, of("a", 1, &[1, 2]));
        assert_eq!(one.len(), 16);
        assert!([of("b", 1, &[1, 2]), of("a", 2, &[1, 2]), of("a", 1, &[1, 3])].iter().all(|other| *other != one));
    }
}
