use skimlm_core::{Code, Error, Result};

use super::{Gguf, header};
use crate::fail::{corrupt, in_file};
use crate::weights::index;

/// A file name such as `tiny-00002-of-00003.gguf`: what precedes the numbers, the part from 1, and
/// how many there are.
pub(crate) fn part_of(name: &str) -> Option<(&str, u32, u32)> {
    let number = |digits: &str| digits.parse().ok().filter(|_| digits.len() == 5);
    let (rest, of) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, part) = rest.rsplit_once('-')?;
    Some((prefix, number(part)?, number(of)?))
}

/// Opens all parts of the model that `one` belongs to, and puts their tensors together.
pub(super) fn join(one: Gguf, count: u32) -> Result<Gguf> {
    let path = one.path.clone();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((prefix, _, _)) = part_of(&name).filter(|&(_, _, of)| of == count) else {
        return Err(in_file(&path)(
            Error::new(
                Code::ModelNotFound,
                format!(
                    "this is one of {count} parts of a model, and its name does not tell those of the others. Name \
                     the parts like `model-00001-of-{count:05}.gguf`."
                ),
            )
            .with("parts", count),
        ));
    };
    let folder = path.parent().unwrap_or(&path);
    let names: Vec<String> = (1..=count).map(|part| format!("{prefix}-{part:05}-of-{count:05}.gguf")).collect();
    let missing: Vec<String> = names.iter().filter(|name| !folder.join(name).is_file()).cloned().collect();
    if !missing.is_empty() {
        return Err(in_file(&path)(
            Error::new(
                Code::ModelNotFound,
                format!(
                    "{} of the model's {count} parts are missing: {}. Download them too.",
                    missing.len(),
                    missing.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
                ),
            )
            .with("missing", missing),
        ));
    }
    let mut model: Option<Gguf> = None;
    for (part, name) in names.iter().enumerate() {
        let path = folder.join(name);
        let next = if path == one.path {
            Gguf { files: one.files.clone(), path: path.clone(), header: header::parse(one.bytes())? }
        } else {
            super::map(&path).and_then(|map| Gguf::parse(map.into(), path.clone())).map_err(in_file(&path))?
        };
        check(&next, part as u32, count).map_err(in_file(&path))?;
        match &mut model {
            None => model = Some(next),
            Some(model) => model.append(next),
        }
    }
    let mut model = model.unwrap_or(one);
    model.header.index = index(model.tensors().iter().map(|info| info.name.as_str())).map_err(in_file(&path))?;
    match model.get_u32("split.tensors.count")? {
        Some(tensors) if tensors as usize != model.header.tensors.len() => {
            let held = model.header.tensors.len();
            Err(in_file(&path)(corrupt(format!(
                "the model's parts hold {held} tensors; the first promises {tensors}. Download them again."
            ))))
        }
        _ => Ok(model),
    }
}

impl Gguf {
    fn append(&mut self, part: Self) {
        let file = self.files.len();
        self.files.extend(part.files);
        self.header.tensors.extend(part.header.tensors.into_iter().map(|mut tensor| {
            tensor.file = file;
            tensor
        }));
    }
}

fn check(part: &Gguf, number: u32, count: u32) -> Result<()> {
    let (no, of) = (part.get_u32("split.no")?.unwrap_or(number), part.split_count()?);
    if (no, of) == (number, count) {
        return Ok(());
    }
    Err(corrupt(format!(
        "the file says it is part {} of {of}; its name says part {} of {count}. Download it again.",
        u64::from(no) + 1,
        number + 1
    )))
}
