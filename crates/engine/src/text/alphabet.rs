//! How vocabularies write bytes. The alphabet of byte-level BPE (GPT-2) has a printable character for
//! every byte; SentencePiece writes text, U+2581 for a space, and `<0x0A>` for a byte on its own.

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '\u{2581}';

/// How a vocabulary writes its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// In the alphabet of byte-level BPE.
    ByteLevel,
    /// As SentencePiece does.
    SentencePiece,
}

impl Writing {
    /// The bytes that an entry stands for.
    pub(crate) fn bytes_of(self, entry: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => bytes_of(entry),
            Self::SentencePiece => match byte_piece(entry) {
                Some(byte) => vec![byte],
                None => entry.replace(SPACE, " ").into_bytes(),
            },
        }
    }
}

/// The byte of an entry such as `<0x0A>`.
pub(crate) fn byte_piece(entry: &str) -> Option<u8> {
    let digits = entry.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| plain)
}

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
fn bytes_of(entry: &str) -> Vec<u8> {
    entry.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| entry.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn sentencepiece_writes_spaces_and_bytes() {
        let bytes = |entry: &str| Writing::SentencePiece.bytes_of(entry);
        assert_eq!(bytes("\u{2581}the\u{2581}"), b" the ");
        assert_eq!((bytes("<0x0A>"), bytes("<0xfF>")), (vec![10], vec![255]));
        for text in ["<0x+A>", "<0xA>", "<0x00A>", "0x0A"] {
            assert_eq!(bytes(text), text.as_bytes());
        }
    }

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
