use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use skimlm_core::Result;

use super::cursor::Cursor;
use super::magic;
use super::tensor::{TensorInfo, TensorType};
use super::value::Kind;
use crate::fail::{corrupt, unsupported};
use crate::weights::index;

/// Far above any real file; keeps a file made of empty entries from filling memory.
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 18;
/// The longest key the format allows; tensor names are 64 bytes at most in real files.
const MAX_NAME: usize = 65535;
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of a file: names and places, no values.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) index: HashMap<String, usize>,
}

/// Where a metadata value stands.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

/// Reads a header. Nothing is allocated from a number in it: lists grow as their entries are read.
pub(super) fn parse(file: &[u8]) -> Result<Header> {
    magic::check(file)?;
    let mut cursor = Cursor::new(file);
    cursor.take(4, "the magic number")?;
    version(cursor.u32("the version")?)?;
    let tensors = cursor.u64("the number of tensors")?;
    let entries = cursor.u64("the number of metadata entries")?;
    // An entry is at least a length, a type and one byte; a tensor has a length, a number of
    // dimensions, one dimension, a type and an offset.
    cursor.check_count(entries, 13, MAX_ENTRIES, "metadata entries")?;
    cursor.check_count(tensors, 32, MAX_TENSORS, "tensors")?;
    let entries = read_entries(&mut cursor, entries)?;
    let alignment = alignment(file, &entries)?;
    let mut infos = read_tensors(&mut cursor, tensors)?;
    place(&mut infos, cursor.at() as u64, alignment, file.len())?;
    let index = index(infos.iter().map(|info| info.name.as_str()))?;
    Ok(Header { entries, tensors: infos, index })
}

fn version(version: u32) -> Result<()> {
    match version {
        2 | 3 => Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            Err(unsupported("the file is big-endian; convert the model to a little-endian GGUF.")
                .with("version", version))
        }
        1 => Err(unsupported("GGUF version 1; versions 2 and 3 can be read. Convert the model again.")
            .with("version", version)),
        _ => Err(corrupt(format!("GGUF version {version}; versions 2 and 3 can be read.")).with("version", version)),
    }
}

fn read_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.name("a metadata key", MAX_NAME)?;
        let kind = Kind::read(cursor, key)?;
        let start = cursor.at();
        kind.skip(cursor, key, 0)?;
        if entries.insert(key.to_owned(), Entry { kind, range: start..cursor.at() }).is_some() {
            return Err(corrupt(format!("the metadata key `{key}` stands twice in the header.")).with("key", key));
        }
    }
    Ok(entries)
}

fn alignment(file: &[u8], entries: &BTreeMap<String, Entry>) -> Result<u64> {
    let Some(entry) = entries.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    let mut cursor = Cursor::new(&file[entry.range.clone()]);
    let value = match entry.kind {
        Kind::U32 => Some(u64::from(cursor.u32("the alignment")?)),
        Kind::U64 => Some(cursor.u64("the alignment")?),
        _ => None,
    };
    match value {
        Some(value) if value.is_power_of_two() && value <= 1 << 20 => Ok(value),
        _ => Err(corrupt(format!(
            "`general.alignment` is {}; it must be a power of two up to {}.",
            value.map_or("no unsigned integer".into(), |v| v.to_string()),
            1 << 20
        ))),
    }
}

fn read_tensors(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<TensorInfo>> {
    let mut tensors = Vec::new();
    for _ in 0..count {
        let name = cursor.name("a tensor's name", MAX_NAME)?;
        let rank = cursor.u32(name)?;
        if rank == 0 || rank > MAX_DIMS {
            return Err(bad(name, format!("has {rank} dimensions; 1 to {MAX_DIMS} are allowed")));
        }
        let dims = (0..rank).map(|_| cursor.u64(name)).collect::<Result<Vec<_>>>()?;
        let kind = TensorType(cursor.u32(name)?);
        let offset = cursor.u64(name)?;
        let elements = dims
            .iter()
            .try_fold(1u64, |all, &dim| all.checked_mul(dim))
            .filter(|&all| all > 0)
            .ok_or_else(|| bad(name, format!("has the impossible sizes {dims:?}")))?;
        let offset =
            usize::try_from(offset).map_err(|_| bad(name, format!("stands at the impossible byte {offset}")))?;
        tensors.push(TensorInfo { name: name.into(), dims, kind, elements, file: 0, range: offset..offset });
    }
    Ok(tensors)
}

/// Turns offsets from the data's start into ranges of the file, and checks every end.
fn place(tensors: &mut [TensorInfo], header_end: u64, alignment: u64, file: usize) -> Result<()> {
    // No overflow: the header ends inside the file, the alignment is small.
    let data = header_end.next_multiple_of(alignment);
    for info in tensors {
        let offset = info.range.start as u64;
        if !offset.is_multiple_of(alignment) {
            return Err(bad(&info.name, format!("starts at {offset}, not at a multiple of the alignment {alignment}")));
        }
        let bytes = match info.kind.layout() {
            None => Some(0),
            Some((values, _)) if !info.dims[0].is_multiple_of(values) => {
                let what = format!("has rows of {} values; {} needs multiples of {values}", info.dims[0], info.kind);
                return Err(bad(&info.name, what));
            }
            Some((values, bytes)) => (info.elements / values).checked_mul(bytes),
        };
        let start = data.checked_add(offset);
        let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
        match start.zip(end) {
            Some((start, end)) if end <= file as u64 => info.range = start as usize..end as usize,
            _ => {
                let shown = end.map_or("beyond any file".into(), |end| format!("at byte {end}"));
                return Err(corrupt(format!(
                    "tensor `{}` ends {shown}, the file has {file} bytes: it is cut short or damaged. \
                     Download it again.",
                    info.name
                ))
                .with("tensor", info.name.clone())
                .with("end", end)
                .with("fileBytes", file));
            }
        }
    }
    Ok(())
}

fn bad(tensor: &str, what: String) -> skimlm_core::Error {
    corrupt(format!("tensor `{tensor}` {what}. The file is damaged; download it again.")).with("tensor", tensor)
}
