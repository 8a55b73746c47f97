use skimlm_core::Result;

use crate::fail::corrupt;

/// A bounded reader over the header. Every length is compared with what is left before it is used.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8]> {
        if len > self.left() {
            return Err(corrupt(format!(
                "the header is cut short or damaged: {what} needs {len} bytes at byte {}, the file ends at byte {}. \
                 Download the file again.",
                self.at,
                self.bytes.len()
            ))
            .with("offset", self.at)
            .with("needed", len)
            .with("fileBytes", self.bytes.len()));
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and as many bytes.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    /// A text that names something: UTF-8, not longer than `limit`.
    pub(super) fn name(&mut self, what: &str, limit: usize) -> Result<&'a str> {
        let at = self.at;
        let bytes = self.text(what)?;
        match std::str::from_utf8(bytes) {
            Ok(name) if name.len() <= limit => Ok(name),
            Ok(name) => {
                Err(corrupt(format!("{what} at byte {at} has {} bytes; at most {limit} are allowed.", name.len())))
            }
            Err(error) => Err(corrupt(format!("{what} at byte {at} is not UTF-8: {error}."))),
        }
    }

    /// A count of things that take at least `least` bytes each: more than fit are refused at once.
    pub(super) fn check_count(&self, count: u64, least: u64, limit: u64, what: &str) -> Result<()> {
        let fit = (self.left() / least).min(limit);
        if count > fit {
            return Err(corrupt(format!(
                "the header claims {count} {what}; at most {fit} fit into the {} bytes that follow. \
                 Download the file again.",
                self.left()
            ))
            .with("claimed", count)
            .with("limit", fit));
        }
        Ok(())
    }
}
