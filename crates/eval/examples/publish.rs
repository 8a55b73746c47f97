//! Records of runs as one small file of columns and tables for people.
//!
//! `cargo run --release -p skimlm-eval --example publish -- OUT COMMIT MACHINE RUN...` writes `OUT.json` and `OUT.md`
//! from the folders of runs. In the JSON a run is its plan, its cases, and for each policy one list a measure with an
//! element a case; null is what was not measured.
#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use skimlm_eval::stats::Mean;
use skimlm_eval::{Cell, Family, Record, Summary, read_records};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, commit, machine, folders @ ..] = args.as_slice() else {
        return Err("usage: publish OUT COMMIT MACHINE RUN...".into());
    };
    let mut runs = Map::new();
    let mut text = format!(
        "# Selection and answers\n\n{machine}, commit {commit}. SmolLM2-135M-Instruct Q4_1, the second half of Moby Dick, \
         greedy. Means with 95 % bootstrap intervals, every task counting alike; differences to `full` are paired by \
         case. The cases are in [eval.json](eval.json).\n"
    );
    for folder in folders {
        let folder = Path::new(folder);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let (records, _) = read_records(&folder.join("records.jsonl"))?;
        let plan: Value = serde_json::from_slice(&std::fs::read(folder.join("plan.json"))?)?;
        tables(&mut text, &name, &records)?;
        runs.insert(name.into_owned(), columns(plan, &records));
    }
    let all = json!({ "commit": commit, "machine": machine, "runs": runs });
    std::fs::write(format!("{out}.json"), serde_json::to_string(&all)? + "\n")?;
    std::fs::write(format!("{out}.md"), text)?;
    Ok(())
}

fn columns(mut plan: Value, records: &[Record]) -> Value {
    let policies = plan["policies"].take();
    if let Some(plan) = plan.as_object_mut() {
        // Places on the machine that ran it.
        ["text", "output", "policies"].iter().for_each(|key| drop(plan.remove(*key)));
    }
    let mut cases: Vec<&str> = Vec::new();
    let mut found: HashMap<(&str, &str), &Record> = HashMap::new();
    for record in records {
        if found.insert((&record.case, &record.policy), record).is_none() && !cases.contains(&record.case.as_str()) {
            cases.push(&record.case);
        }
    }
    let listed = policies.as_array().into_iter().flatten().map(|contender| {
        let name = contender["name"].as_str().unwrap_or_default();
        let column = |of: &dyn Fn(&Record) -> Option<f64>| -> Value {
            let values: Vec<Option<f64>> =
                cases.iter().map(|case| found.get(&(*case, name)).and_then(|r| of(r))).collect();
            if values.iter().all(Option::is_none) { Value::Null } else { json!(values) }
        };
        let short = |x: f64| (x * 1e3).round() / 1e3;
        json!({
            "name": name,
            "policy": contender["policy"],
            "score": column(&|r| r.score.map(short)),
            "recall": column(&|r| r.recall.map(short)),
            "kept": column(&|r| r.kept.map(short)),
            "loss": column(&|r| r.loss.map(short)),
            "prefillMs": column(&|r| r.prefill_ms.map(f64::round)),
        })
    });
    json!({ "plan": plan, "cases": cases, "policies": listed.collect::<Vec<_>>() })
}

/// A table: its title, what a cell shows, and whether it is a difference.
type Part<'a> = (&'a str, &'a dyn Fn(&Cell) -> Option<Mean>, bool);

fn tables(text: &mut String, name: &str, records: &[Record]) -> std::fmt::Result {
    let summary = Summary::new(records);
    let answered = summary.policies.iter().any(|cell| cell.score.is_some());
    writeln!(text, "\n## {name}\n")?;
    let mut tasks: Vec<&str> = summary.cells.iter().filter_map(|cell| cell.task.as_deref()).collect();
    tasks.dedup();
    writeln!(text, "Tasks: {}. The last number of a cell is its cases.\n", tasks.join(", "))?;
    let mut lengths: Vec<usize> = summary.groups.iter().filter_map(|cell| cell.length).collect();
    lengths.dedup();
    let mut families: Vec<Option<Family>> = summary.groups.iter().map(|cell| cell.family).collect();
    families.sort_unstable();
    families.dedup();
    let parts: Vec<Part> = match answered {
        true => vec![
            ("Answer score", &|c| c.score, false),
            ("Answer score less that of full", &|c| c.score_difference, true),
            ("Evidence recall", &|c| c.recall, false),
            ("Share of the prompt kept", &|c| c.kept, false),
            ("Prompt passes, ms", &|c| c.prefill_ms, false),
        ],
        false => vec![("Evidence recall", &|c| c.recall, false), ("Share of the prompt kept", &|c| c.kept, false)],
    };
    for (title, of, signed) in parts {
        let kinds = if title.starts_with("Prompt") || title.starts_with("Share") { &families[..1] } else { &families };
        writeln!(text, "### {title}\n")?;
        let heads: Vec<String> = lengths
            .iter()
            .map(|length| if *length == 0 { "any length".to_owned() } else { format!("{length} tokens") })
            .collect();
        writeln!(text, "| tasks | policy | {} |\n| --- | --- |{}", heads.join(" | "), " --- |".repeat(lengths.len()))?;
        for family in kinds {
            for policy in summary.policies.iter().map(|cell| &cell.policy) {
                let cell = |length: &usize| {
                    let own = |c: &&Cell| c.length == Some(*length) && c.family == *family && &c.policy == policy;
                    summary.groups.iter().find(own).and_then(of).map_or("-".to_owned(), |m| shown(m, signed))
                };
                let cells: Vec<String> = lengths.iter().map(cell).collect();
                if cells.iter().any(|cell| cell != "-") {
                    writeln!(text, "| {} | {policy} | {} |", family.map_or("all", Family::name), cells.join(" | "))?;
                }
            }
        }
        writeln!(text)?;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(())
}

fn shown(Mean { mean, low, high, n }: Mean, signed: bool) -> String {
    if mean > 10.0 {
        return format!("{mean:.0}");
    }
    if signed {
        return format!("{mean:+.2} ({low:+.2} to {high:+.2})");
    }
    format!("{mean:.2} ({low:.2} to {high:.2}; {n})")
}
