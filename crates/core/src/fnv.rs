/// The hash of no bytes.
pub const FNV_START: u64 = 0xCBF2_9CE4_8422_2325;

/// 64-bit FNV-1a: a hash goes on over some bytes. It recognises and finds damage; it is no proof against forgery.
pub fn fnv1a(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        assert_eq!(fnv1a(FNV_START, *b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(FNV_START, *b"foobar"), 0x8594_4171_F739_67E8);
        assert_eq!(fnv1a(fnv1a(FNV_START, *b"foo"), *b"bar"), fnv1a(FNV_START, *b"foobar"));
    }
}
