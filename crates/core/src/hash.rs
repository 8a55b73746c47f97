/// The hash of no bytes.
pub const FNV_START: u64 = 0xCBF2_9CE4_8422_2325;

/// 64-bit FNV-1a: a hash goes on over some bytes. It recognises and finds damage; it is no proof against forgery.
pub fn fnv1a(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// splitmix64 of a seed, the number at an index of its stream: equal draws on every machine.
pub fn splitmix64(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
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

    #[test]
    fn draws_are_those_of_splitmix64() {
        // What its authors' C code gives for the seed 0.
        let published = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
        assert_eq!([0, 1, 2].map(|index| splitmix64(0, index)), published);
        assert_ne!(splitmix64(1, 0), splitmix64(0, 0));
    }
}
