use std::collections::BTreeSet;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::Mutex;

/// Says on stderr that something is not tested, and why, as `format!` would: each text once a process, however many
/// tests ask, and wherever.
#[doc(hidden)]
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => { $crate::say_skipped(format_args!($($why)*)) };
}

/// Writes by itself, because libtest drops what the printing macros of a test that passes have said.
#[doc(hidden)]
pub fn say_skipped(why: Arguments<'_>) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("skipped: {why}\n");
    if SAID.lock().is_ok_and(|mut said| said.insert(line.clone())) {
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
