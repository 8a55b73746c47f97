use skimlm_core::Result;

use super::cursor::Cursor;
use crate::fail::corrupt;

/// How a metadata value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

/// Arrays of arrays are legal, deep nests of them are not meant.
const DEPTH: usize = 4;

impl Kind {
    pub(super) fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self> {
        const ALL: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::Text,
            Kind::Array,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        let at = cursor.at();
        let number = cursor.u32(what)?;
        ALL.get(number as usize)
            .copied()
            .ok_or_else(|| corrupt(format!("{what} at byte {at} has the type {number}; 0 to 12 are known.")))
    }

    /// Bytes of a value of fixed size.
    fn width(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }

    /// Walks over a value without keeping anything of it.
    pub(super) fn skip(self, cursor: &mut Cursor<'_>, what: &str, depth: usize) -> Result<()> {
        match self {
            Self::Text => cursor.text(what).map(drop),
            Self::Array => {
                if depth == DEPTH {
                    return Err(corrupt(format!("{what} nests arrays more than {DEPTH} deep.")));
                }
                let kind = Self::read(cursor, what)?;
                let len = cursor.u64(what)?;
                let least = match kind {
                    Self::Text => 8,
                    Self::Array => 12,
                    fixed => fixed.width().unwrap_or(1),
                };
                cursor.check_count(len, least, u64::MAX, &format!("elements of {what}"))?;
                match kind.width() {
                    Some(width) => cursor.take(len * width, what).map(drop),
                    None => (0..len).try_for_each(|_| kind.skip(cursor, what, depth + 1)),
                }
            }
            fixed => cursor.take(fixed.width().unwrap_or(0), what).map(drop),
        }
    }
}

/// A metadata value, borrowed from the file. Integers and floats are widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// A list of one type, read as it is walked.
    Array(Array<'a>),
}

/// A list of values of one type that stays in the file.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    kind: Kind,
    len: u64,
    bytes: &'a [u8],
}

impl std::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{:?}; {}]", self.kind, self.len)
    }
}

impl<'a> Value<'a> {
    /// Reads one value. Lengths have been checked once; they are checked again, which costs nothing.
    pub(super) fn read(kind: Kind, cursor: &mut Cursor<'a>, what: &str) -> Result<Self> {
        Ok(match kind {
            Kind::U8 => Self::Unsigned(u8::from_le_bytes(cursor.array(what)?).into()),
            Kind::U16 => Self::Unsigned(u16::from_le_bytes(cursor.array(what)?).into()),
            Kind::U32 => Self::Unsigned(u32::from_le_bytes(cursor.array(what)?).into()),
            Kind::U64 => Self::Unsigned(u64::from_le_bytes(cursor.array(what)?)),
            Kind::I8 => Self::Signed(i8::from_le_bytes(cursor.array(what)?).into()),
            Kind::I16 => Self::Signed(i16::from_le_bytes(cursor.array(what)?).into()),
            Kind::I32 => Self::Signed(i32::from_le_bytes(cursor.array(what)?).into()),
            Kind::I64 => Self::Signed(i64::from_le_bytes(cursor.array(what)?)),
            Kind::F32 => Self::Float(f32::from_le_bytes(cursor.array(what)?).into()),
            Kind::F64 => Self::Float(f64::from_le_bytes(cursor.array(what)?)),
            Kind::Bool => match cursor.array::<1>(what)? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [byte] => return Err(corrupt(format!("{what} is the byte {byte}; a truth value is 0 or 1."))),
            },
            Kind::Text => Self::Text(cursor.name(what, usize::MAX)?),
            Kind::Array => {
                let kind = Kind::read(cursor, what)?;
                let len = cursor.u64(what)?;
                let mut walk = Cursor::new(cursor.rest());
                match kind.width() {
                    Some(width) => drop(walk.take(len.saturating_mul(width), what)?),
                    None => (0..len).try_for_each(|_| kind.skip(&mut walk, what, 1))?,
                }
                let bytes = cursor.take(walk.at() as u64, what)?;
                Self::Array(Array { kind, len, bytes })
            }
        })
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Unsigned(n) => format!("the integer {n}"),
            Self::Signed(n) => format!("the integer {n}"),
            Self::Float(x) => format!("the float {x}"),
            Self::Bool(flag) => format!("the truth value {flag}"),
            Self::Text(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
            Self::Array(array) => format!("an array of {} values", array.len),
        }
    }
}

impl<'a> Array<'a> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in order; a text that is not UTF-8 is an error in its place.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>>> + use<'a> {
        let kind = self.kind;
        let mut cursor = Cursor::new(self.bytes);
        (0..self.len)
            .map(move |i| Value::read(kind, &mut cursor, "an array's value").map_err(|error| error.with("index", i)))
    }
}
