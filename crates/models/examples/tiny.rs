//! Writes a tiny random model for tests: `tiny OUT [positions=N] [hidden=N] [head=N] [layers=N]
//! [tokenizer=no] [template=no]`. An existing folder gets safetensors, any other path becomes a GGUF file.

use std::error::Error;
use std::path::Path;

use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use skimlm_models::weights::safetensors;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of the file to write is missing")?;
    let mut tiny = Tiny::default();
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or_else(|| format!("{argument} is not key=value"))?;
        match key {
            "positions" => tiny.sizes.max_positions = value.parse()?,
            "hidden" => tiny.sizes.hidden = value.parse()?,
            "head" => tiny.sizes.head_dim = value.parse()?,
            "layers" => tiny.sizes.layers = value.parse()?,
            "tokenizer" => tiny.tokenizer = value != "no",
            "template" if value == "no" => tiny.chat_template = None,
            _ => return Err(format!("unknown option {argument}").into()),
        }
    }
    let path = Path::new(&path);
    if path.is_dir() {
        return Ok(safetensors::write::write_tiny(path, &tiny, safetensors::Dtype::F32)?);
    }
    Ok(write_tiny(path, &tiny)?)
}
