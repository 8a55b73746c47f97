/// UTF-16 code units of some whole characters.
pub(crate) fn units(text: &str) -> u32 {
    // A character has one byte that is not a continuation; those of four bytes are surrogate pairs.
    let count: usize = text.bytes().map(|b| usize::from(b & 0xC0 != 0x80) + usize::from(b >= 0xF0)).sum();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Turns byte offsets of a text into UTF-16 offsets, fast when they come roughly in order.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    byte: usize,
    unit: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, byte: 0, unit: 0 }
    }

    /// The offset of the character that byte `byte` belongs to.
    pub(crate) fn at(&mut self, byte: usize) -> u32 {
        let byte = floor(self.text, byte);
        if byte >= self.byte {
            self.unit += units(&self.text[self.byte..byte]);
        } else {
            self.unit -= units(&self.text[byte..self.byte]);
        }
        self.byte = byte;
        self.unit
    }
}

/// The last character boundary that is not after `byte`.
pub(crate) fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// The first character boundary that is not before `byte`.
pub(crate) fn ceil(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte += 1;
    }
    byte
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_encode_utf16(text in any::<String>(), at in prop::collection::vec(any::<prop::sample::Index>(), 1..20)) {
            let mut cursor = Cursor::new(&text);
            for index in at {
                let byte = floor(&text, index.index(text.len() + 1));
                prop_assert_eq!(cursor.at(byte) as usize, text[..byte].encode_utf16().count());
            }
            prop_assert_eq!(units(&text) as usize, text.encode_utf16().count());
        }
    }

    #[test]
    fn boundaries_enclose_a_character() {
        let text = "a\u{1F40B}b";
        assert_eq!((floor(text, 3), ceil(text, 3)), (1, 5));
        assert_eq!((floor(text, 99), ceil(text, 99)), (6, 6));
    }
}
