/// Says on stderr that something is not tested, and why, as `format!` would: each text once a process, however many tests
/// ask. Writes by itself, because libtest drops what the printing macros of a test that passes have said.
#[doc(hidden)]
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {{
        static SAID: std::sync::Mutex<std::collections::BTreeSet<String>> =
            std::sync::Mutex::new(std::collections::BTreeSet::new());
        let why = format!($($why)*);
        if SAID.lock().is_ok_and(|mut said| said.insert(why.clone())) {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {why}\n").as_bytes());
        }
    }};
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const ASK: &str = "SKIMLM_SKIPPED_TEST";

    #[test]
    fn what_is_skipped_is_said_once_where_tests_are_captured() {
        if std::env::var_os(ASK).is_some() {
            return ["pigs do not fly", "cows do not swim", "pigs do not fly"]
                .into_iter()
                .for_each(|why| skipped!("{why}"));
        }
        let name = "skipped::tests::what_is_skipped_is_said_once_where_tests_are_captured";
        let run =
            Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(ASK, "1").output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(said, "skipped: pigs do not fly\nskipped: cows do not swim\n");
    }
}
