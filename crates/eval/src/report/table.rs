use super::{dash, interval};
use crate::{Cell, Summary};

/// The columns of every table.
pub(super) const HEADS: [&str; 12] = [
    "task",
    "length",
    "policy",
    "cases",
    "score",
    "score - full",
    "evidence recall",
    "loss - full",
    "kept",
    "TTFT ms",
    "speedup",
    "peak MiB",
];

/// One row. Numbers that were not measured are dashes.
pub(super) fn row(cell: &Cell) -> [String; 12] {
    let share = |value: f64| format!("{:.1} %", 100.0 * value);
    let failed = if cell.errors > 0 { format!(" ({} failed)", cell.errors) } else { String::new() };
    [
        match (&cell.task, cell.family) {
            (Some(task), _) => task.clone(),
            (None, Some(family)) => format!("all {}", family.name()),
            (None, None) => "all".into(),
        },
        cell.length.filter(|length| *length > 0).map_or_else(dash, |length| length.to_string()),
        cell.policy.clone(),
        format!("{}{failed}", cell.cases),
        interval(cell.score, false),
        interval(cell.score_difference, true),
        interval(cell.recall, false),
        interval(cell.loss_difference, true),
        cell.kept.map_or_else(dash, |kept| share(kept.mean)),
        cell.ttft_ms.map_or_else(dash, |ms| format!("{:.0}", ms.mean)),
        cell.speedup.map_or_else(dash, |times| format!("{times:.2}x")),
        cell.peak_bytes.map_or_else(dash, |bytes| format!("{:.0}", bytes as f64 / 1_048_576.0)),
    ]
}

/// The summary as Markdown: a table over everything, one over lengths and kinds of tasks, and one of the cells.
pub fn markdown(summary: &Summary) -> String {
    let mut out = String::new();
    let parts = [
        ("All tasks and lengths", &summary.policies),
        ("By length and kind", &summary.groups),
        ("By task and length", &summary.cells),
    ];
    for (title, cells) in parts {
        out.push_str(&format!("## {title}\n\n| {} |\n|{}\n", HEADS.join(" | "), " --- |".repeat(HEADS.len())));
        for cell in cells {
            let row = row(cell).map(|text| text.replace('|', "\\|").replace(['\n', '\r'], " "));
            out.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    #[test]
    fn tables_have_a_row_a_cell() {
        let record = Record {
            case: "c".into(),
            task: "a|b".into(),
            length: 512,
            policy: "full".into(),
            score: Some(1.0),
            kept: Some(0.125),
            peak_bytes: Some(3 << 20),
            ..Record::default()
        };
        let failed = Record { case: "d".into(), error: Some("no".into()), ..record.clone() };
        let text = markdown(&Summary::new(&[record, failed]));
        let rows: Vec<_> = text.lines().filter(|line| line.contains("full |")).collect();
        assert_eq!(rows.len(), 6, "{text}");
        let row = "1 (1 failed) | 1.00 [1.00, 1.00] | +0.00 [+0.00, +0.00] | - | - | 12.5 % | - | - | 3 |";
        assert_eq!(rows[1], format!("| all | - | full | {row}"));
        assert_eq!(rows[3], format!("| all | 512 | full | {row}"));
        assert_eq!(rows[5], format!("| a\\|b | 512 | full | {row}"));
        let unsaid = Record { case: "e".into(), policy: "full".into(), ..Record::default() };
        let text = markdown(&Summary::new(&[unsaid]));
        assert!(text.contains("|  | - | full | 1 |"), "{text}");
    }
}
