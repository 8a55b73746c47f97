use skimlm_core::{Error, Result, Role};

use super::assemble::{Assembled, Origin, QUESTION_TOKENS, Source};
use super::utf16::units;

impl Assembled {
    /// Marks the last paragraph of `text` as the question, unless it is too long or there is nothing
    /// else to read.
    pub(super) fn find_question(&mut self, text: &str, message: Option<u32>) {
        let end = text.trim_end().len();
        let start = text[..end].rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let first = units(&text[..start]);
        let range = (first, first + units(&text[start..end]));
        let rows: Vec<usize> = (0..self.origins.len())
            .filter(|&row| {
                let origin = &self.origins[row];
                self.rows.roles[row] == Role::Document && origin.message == message && origin.overlaps(range)
            })
            .collect();
        let document = self.rows.roles.iter().filter(|&&role| role == Role::Document).count();
        if rows.len() <= QUESTION_TOKENS && rows.len() < document {
            for row in rows {
                self.rows.roles[row] = Role::Question;
                self.origins[row].source = Source::Question;
            }
        }
    }

    /// Pins the tokens of `text`, those that `of_text` says yes to, that overlap `pins`.
    pub(super) fn pin(&mut self, pins: &[(u32, u32)], text: &str, of_text: impl Fn(&Origin) -> bool) -> Result<()> {
        if pins.is_empty() {
            return Ok(());
        }
        let length = units(text);
        if let Some(&(start, end)) = pins.iter().find(|(start, end)| start > end || *end > length) {
            return Err(Error::invalid_option(
                "pins.text",
                vec![start, end],
                format!("ranges [start, end) of the text, within 0 to {length}"),
            ));
        }
        let mut pins: Vec<_> = pins.iter().filter(|(start, end)| start < end).copied().collect();
        pins.sort_unstable();
        pins.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1;
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
        for (origin, role) in self.origins.iter().zip(&mut self.rows.roles) {
            let candidate = pins.partition_point(|pin| pin.1 <= origin.start);
            if of_text(origin) && pins.get(candidate).is_some_and(|&pin| origin.overlaps(pin)) {
                *role = Role::Pinned;
            }
        }
        Ok(())
    }
}
