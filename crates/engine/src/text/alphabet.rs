//! The alphabet of byte-level BPE (GPT-2): every byte is written as one printable character.

/// The byte that a character of a vocabulary entry stands for.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    // Printable Latin-1 stands for itself; the 68 others follow from U+0100 on, in order.
    match c as u32 {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The bytes of an entry; one that is not written in the alphabet stands for itself.
pub(crate) fn bytes_of(entry: &str) -> Vec<u8> {
    entry.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| entry.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn is_the_alphabet_of_the_tokenizers_crate() {
        let theirs = ByteLevel::alphabet();
        let mut bytes: Vec<u8> = theirs.iter().map(|&c| byte_of(c).unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(('\0'..='\u{1000}').filter(|&c| byte_of(c).is_some()).count(), 256);
        assert_eq!(bytes_of("ĠcafÃ©"), " café".as_bytes());
        assert_eq!(bytes_of("語"), "語".as_bytes());
    }
}
