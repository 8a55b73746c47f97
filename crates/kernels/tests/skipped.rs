//! What tests say of what they skip. Apart from the library's tests, because an emulator does not follow a process that
//! starts itself.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use skimlm_kernels::skipped;

const ASK: &str = "SKIMLM_SKIPPED_TEST";

#[test]
fn what_is_skipped_is_said_once_where_tests_are_captured() {
    if std::env::var_os(ASK).is_some() {
        ["pigs do not fly", "cows do not swim", "pigs do not fly"].into_iter().for_each(|why| skipped!("{why}"));
        return skipped!("cows do not swim");
    }
    let name = "what_is_skipped_is_said_once_where_tests_are_captured";
    let run = Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(ASK, "1").output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(said, "skipped: pigs do not fly\nskipped: cows do not swim\n");
}
