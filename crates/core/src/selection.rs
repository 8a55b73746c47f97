use crate::error::{Error, Result};

/// Survivors among rows or cache entries: sorted unique indices, one list for all heads or one a
/// head (kv heads or query heads).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    lists: Vec<Vec<u32>>,
    shared: bool,
}

impl Selection {
    /// One list for all heads; `ERR_INVALID_ARG` unless it ascends strictly.
    pub fn shared(indices: Vec<u32>) -> Result<Self> {
        check(&indices)?;
        Ok(Self { lists: vec![indices], shared: true })
    }

    /// One list a head; `ERR_INVALID_ARG` unless each ascends strictly.
    pub fn per_head(lists: Vec<Vec<u32>>) -> Result<Self> {
        lists.iter().try_for_each(|list| check(list))?;
        Ok(Self { lists, shared: false })
    }

    /// The indices, where all heads share them.
    pub fn as_shared(&self) -> Option<&[u32]> {
        match (self.shared, self.lists.as_slice()) {
            (true, [list]) => Some(list),
            _ => None,
        }
    }

    /// The lists: one, or one a head.
    pub fn lists(&self) -> &[Vec<u32>] {
        &self.lists
    }

    /// The longest list.
    pub fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether nothing survives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn check(indices: &[u32]) -> Result<()> {
    match indices.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(Error::invalid_option(
            "indices",
            format!("{}, {}", pair[0], pair[1]),
            "strictly ascending, each index once",
        )),
        None => Ok(()),
    }
}
