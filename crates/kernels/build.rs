//! With the feature `cuda`: compiles our kernels to machine code for the processors named below and to PTX for
//! later ones. nvcc is what `SKIMLM_NVCC` names, for these kernels alone, else `NVCC`, else that of `CUDA_HOME`, else
//! the one in the path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Ampere (A100), Ampere (consumer), Ada and Hopper. Hopper's PTX serves what comes later.
const PROCESSORS: [&str; 4] = ["80", "86", "89", "90"];
const LATER: &str = "90";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=SKIMLM_NVCC");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let (nvcc, out) = (nvcc(), PathBuf::from(env::var("OUT_DIR")?));
    let mut sources = Vec::new();
    find(Path::new("src"), &mut sources)?;
    sources.sort();
    let mut images = String::from("&[\n");
    for source in &sources {
        let name = source.file_stem().and_then(|name| name.to_str()).ok_or("a file name in UTF-8")?;
        let image = out.join(name).with_extension("fatbin");
        compile(&nvcc, source, &image)?;
        images += &format!("    ({name:?}, include_bytes!({:?})),\n", image.display().to_string());
    }
    fs::write(out.join("images.rs"), images + "]\n")?;
    Ok(())
}

fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("SKIMLM_NVCC").or_else(|| env::var_os("NVCC")) {
        return nvcc.into();
    }
    let home = env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    home.filter(|nvcc| nvcc.exists()).unwrap_or_else(|| "nvcc".into())
}

fn compile(nvcc: &Path, source: &Path, image: &Path) -> Result<()> {
    let mut command = Command::new(nvcc);
    command.args(["-O3", "-std=c++17", "-fatbin", "-Werror", "all-warnings", "-Xptxas", "-warn-spills", "-I", "cuda"]);
    for processor in PROCESSORS {
        command.arg("-gencode").arg(format!("arch=compute_{processor},code=sm_{processor}"));
    }
    command.arg("-gencode").arg(format!("arch=compute_{LATER},code=compute_{LATER}"));
    let failed = |why: String| format!("{} did not compile {}: {why}", nvcc.display(), source.display());
    let done = command.arg("-o").arg(image).arg(source).output().map_err(|error| failed(error.to_string()))?;
    if !done.status.success() {
        let said = [done.stdout, done.stderr].concat();
        return Err(failed(String::from_utf8_lossy(&said).into_owned()).into());
    }
    Ok(())
}

fn find(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "cu") {
            into.push(path);
        }
    }
    Ok(())
}
