//! The kernels as plain C++ on the CPU: every thread of the grid in turn, with the barriers, shared memory, warp
//! exchanges and matrix fragments of a GPU (`cuda/emulate.hpp`).

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};

use super::{Gpu, Launch};
use crate::error::{Error, Result, invalid};

/// A GPU of few multiprocessors that is a CPU.
pub(crate) struct Emulation {
    entry: Entry,
    /// While something is recorded: what it has done so far.
    noted: RefCell<Option<Vec<Noted>>>,
}

/// One thing to do again.
pub(crate) enum Noted {
    /// With tensors of its own, so that their addresses stay theirs.
    Launch(Launch<Tensor>),
    Zeros(Tensor),
    Library(Box<dyn Fn() -> Result<Tensor>>, Tensor),
}

type Entry = unsafe extern "C" fn(*const c_char, *const u32, u32, u32, c_int, *mut *mut c_void) -> c_int;

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// The emulation, or none where there is no C++ compiler, said aloud.
pub(crate) fn emulation() -> Option<Emulation> {
    static FOUND: OnceLock<std::result::Result<Entry, String>> = OnceLock::new();
    match FOUND.get_or_init(build) {
        Ok(entry) => Some(Emulation { entry: *entry, noted: RefCell::default() }),
        Err(why) => {
            skipped!("emulated kernels ({why})");
            None
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn build() -> std::result::Result<Entry, String> {
    Err("it is written for Linux".into())
}

/// Compiles all kernels into one library. Only a missing compiler is an excuse.
#[cfg(target_os = "linux")]
fn build() -> std::result::Result<Entry, String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        return Err(format!("no C++ compiler `{compiler}`"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.exists() {
        return Err("the sources are on another machine".into());
    }
    let mut sources: Vec<PathBuf> = kernels(&root.join("src"));
    sources.push(root.join("cuda/emulate.cpp"));
    let folder = tempfile::tempdir().expect("a folder for the emulation");
    let objects: Vec<PathBuf> = (0..sources.len()).map(|i| folder.path().join(format!("{i}.o"))).collect();
    let running: Vec<_> = sources
        .iter()
        .zip(&objects)
        .map(|(source, object)| {
            Command::new(&compiler)
                .args(["-std=c++17", "-O2", "-fPIC", "-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas", "-x", "c++", "-c"])
                .arg("-I")
                .arg(root.join("cuda"))
                .arg(source)
                .arg("-o")
                .arg(object)
                .spawn()
                .expect("the C++ compiler starts")
        })
        .collect();
    for (mut child, source) in running.into_iter().zip(&sources) {
        assert!(child.wait().unwrap().success(), "{} does not compile as C++", source.display());
    }
    let library = folder.path().join("kernels.so");
    let linked = Command::new(&compiler).arg("-shared").args(&objects).arg("-o").arg(&library).status().unwrap();
    assert!(linked.success(), "the emulation does not link");
    let file = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library was built just now from our own sources and is never closed; the function has the type
    // that `emulate.cpp` declares. The file may go: what is mapped stays.
    #[allow(unsafe_code)]
    unsafe {
        let library = dlopen(file.as_ptr(), 2);
        assert!(!library.is_null(), "{:?}", std::ffi::CStr::from_ptr(dlerror()));
        let entry = dlsym(library, c"skimlm_emulate".as_ptr());
        assert!(!entry.is_null(), "the emulation has no entry");
        Ok(std::mem::transmute::<*mut c_void, Entry>(entry))
    }
}

fn kernels(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { kernels(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    found.sort();
    found
}

impl Emulation {
    /// Notes something if there is a recording; the answer says whether.
    fn note(&self, what: impl FnOnce() -> Noted) -> bool {
        self.noted.borrow_mut().as_mut().map(|noted| noted.push(what())).is_some()
    }
}

impl Gpu for Emulation {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn processors(&self) -> usize {
        3
    }

    fn launch(&self, launch: Launch<&Tensor>) -> Result<()> {
        if self.note(|| Noted::Launch(launch.map(|&tensor| tensor.clone()))) {
            return Ok(());
        }
        // The machine that is emulated is one for the whole process.
        static RUNNING: Mutex<()> = Mutex::new(());
        let Some(grid) = launch.blocks()? else { return Ok(()) };
        let name = CString::new(launch.kernel.as_str()).unwrap();
        launch.with_parameters(&Device::Cpu, |parameters| {
            let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: every parameter points at a value of the declared type or at a locked tensor; the kernels stay
            // within them, which is what the tests are about.
            #[allow(unsafe_code)]
            let code = unsafe {
                (self.entry)(
                    name.as_ptr(),
                    grid.as_ptr(),
                    launch.threads as u32,
                    launch.shared as u32,
                    c_int::from(launch.cooperative),
                    parameters.as_mut_ptr(),
                )
            };
            match code {
                0 => Ok(()),
                1 => invalid("emulation", format!("there is no kernel {}", launch.kernel)),
                _ => invalid("emulation", format!("all threads of {} wait", launch.kernel)),
            }
        })
    }

    type Recording = Vec<Noted>;

    fn record<E: From<Error>>(
        &self,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<Noted>, E> {
        *self.noted.borrow_mut() = Some(Vec::new());
        let done = work();
        let noted = self.noted.take().unwrap_or_default();
        done.map(|()| noted)
    }

    fn replay(&self, recording: &Vec<Noted>) -> Result<()> {
        recording.iter().try_for_each(|noted| match noted {
            Noted::Launch(held) => self.launch(held.map(|tensor| tensor)),
            Noted::Zeros(tensor) => Ok(tensor.zero_set()?),
            Noted::Library(op, to) => Ok(to.slice_set(&op()?.contiguous()?, 0, 0)?),
        })
    }

    fn library(&self, op: impl Fn() -> Result<Tensor> + 'static) -> Result<Tensor> {
        let made = op()?;
        self.note(|| Noted::Library(Box::new(op), made.clone()));
        Ok(made)
    }

    /// A graph would keep the address of memory that is gone when it runs.
    fn upload<T: candle_core::WithDType>(&self, values: Vec<T>) -> Result<Tensor> {
        if self.noted.borrow().is_some() {
            return invalid("record", "numbers from the host".into());
        }
        let len = values.len();
        Ok(Tensor::from_vec(values, len, &Device::Cpu)?)
    }

    fn zeros(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let made = super::zeros(shape.into(), dtype, &Device::Cpu)?;
        self.note(|| Noted::Zeros(made.clone()));
        Ok(made)
    }
}
