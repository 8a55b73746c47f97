//! Prints every policy with its documentation, options, defaults and published settings as JSON: what
//! the generated types and pages are made of.
#![allow(clippy::print_stdout)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", serde_json::to_string_pretty(&skimlm_policies::registry::describe()?)?);
    Ok(())
}
