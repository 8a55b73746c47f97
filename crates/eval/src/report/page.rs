use super::chart::chart;
use super::escaped;
use super::heatmap::heatmaps;
use super::table::{HEADS, row};
use crate::{Cell, Record, Summary};

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fff; --ink: #1d2430; --soft: #667080; --rule: #dde2ea; --mark: #1f5fbf;
  --on: #fff; --worse: #b3261e; --better: #1b7a3d; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181f; --ink: #e6e9ef; --soft: #98a2b3; --rule: #2d3542;
  --mark: #6ba6ff; --on: #10141a; --worse: #ff8a80; --better: #7ddc9a; } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, dt, figcaption { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .7rem; text-align: right; }
th { color: var(--soft); font-weight: 600; }
th.text, td.text { text-align: left; }
.worse { color: var(--worse); } .better { color: var(--better); }
.maps { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: .5rem 0; } svg { max-width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg .name, svg .off { fill: var(--ink); }
svg .on { fill: var(--on); } .heat, .dot { fill: var(--mark); } .bar { stroke: var(--mark); stroke-width: 1.5; }
.grid { stroke: var(--rule); }
";

/// The report as one page without any other file: tables, the map of lengths and depths, and score against time.
/// `about` says what ran: model, commit, machine.
pub fn html(summary: &Summary, records: &[Record], about: &[(String, String)]) -> String {
    let about: String =
        about.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value))).collect();
    let mut body = format!("<h1>skimlm eval</h1>\n<dl>{about}</dl>\n");
    body.push_str(
        "<p>Means with 95 % bootstrap intervals. Differences to full attention are paired by case; red is a loss \
         beyond the interval, green a gain.</p>\n",
    );
    let mut section = |title: &str, note: &str, content: String| {
        if !content.is_empty() {
            body.push_str(&format!("<h2>{title}</h2>\n<p>{note}</p>\n{content}\n"));
        }
    };
    section("All tasks and lengths", "Every task and length counts alike.", table(&summary.policies));
    section("Score against time", "Up and to the left is better.", chart(summary));
    let (what, maps) = heatmaps(records);
    let maps = if maps.is_empty() { maps } else { format!("<div class=\"maps\">{maps}</div>") };
    section(what, "Depth is where the evidence lies: 0 % is the start of the document.", maps);
    section("By length and kind", "Every task counts alike.", table(&summary.groups));
    section("By task and length", "A dash is a number that was not measured.", table(&summary.cells));
    section("Failures", "Cases without a result.", failures(records));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>skimlm eval</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn table(cells: &[Cell]) -> String {
    if cells.is_empty() {
        return String::new();
    }
    const TEXT: [&str; 2] = ["task", "policy"];
    let class = |head: &str| if TEXT.contains(&head) { " class=\"text\"" } else { "" };
    let heads: String = HEADS.iter().map(|head| format!("<th{}>{head}</th>", class(head))).collect();
    let mut rows = String::new();
    for cell in cells {
        rows.push_str("<tr>");
        for (head, text) in HEADS.iter().zip(row(cell)) {
            let verdict = match *head {
                "score - full" => cell.score_difference.map(|m| (m.low, m.high)),
                // A higher loss is worse.
                "loss - full" => cell.loss_difference.map(|m| (-m.high, -m.low)),
                _ => None,
            };
            let class = match verdict {
                Some((_, high)) if high < 0.0 => " class=\"worse\"",
                Some((low, _)) if low > 0.0 => " class=\"better\"",
                _ => class(head),
            };
            rows.push_str(&format!("<td{class}>{}</td>", escaped(&text)));
        }
        rows.push_str("</tr>\n");
    }
    format!("<div class=\"wide\"><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>")
}

fn failures(records: &[Record]) -> String {
    let failed = records.iter().filter_map(|record| {
        let error = record.error.as_deref()?;
        Some(format!("<dt>{}, {}</dt><dd>{}</dd>", escaped(&record.case), escaped(&record.policy), escaped(error)))
    });
    let list: String = failed.collect();
    if list.is_empty() { list } else { format!("<dl>{list}</dl>") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let mut records = Vec::new();
        for i in 0..20 {
            for (policy, score, loss) in [("full", 1.0, 1.0), ("<quick>", 0.25, 1.5)] {
                records.push(Record {
                    case: format!("needle-{i}"),
                    task: "needle".into(),
                    length: 1024,
                    depth: Some(0.5),
                    policy: policy.into(),
                    answer: "<script>".into(),
                    score: Some(score),
                    loss: Some(loss),
                    ttft_ms: Some(100.0),
                    ..Record::default()
                });
            }
        }
        records.push(Record {
            case: "x".into(),
            policy: "full".into(),
            error: Some("a < b".into()),
            ..Record::default()
        });
        records
    }

    #[test]
    fn the_page_is_whole_and_escaped() {
        let records = records();
        let page = html(&Summary::new(&records), &records, &[("model".into(), "a & b".into())]);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        for part in ["a &amp; b", "&lt;quick&gt;", "a &lt; b", "Score by length and depth", "Score against time"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<quick>") && !page.contains("http") && !page.contains("<script"));
        for tag in ["<table>", "<svg ", "<figure>", "<dl>"] {
            let close = format!("</{}>", tag.trim_matches(['<', '>', ' ']));
            assert_eq!(page.matches(tag).count(), page.matches(&close).count(), "{tag}");
        }
    }

    #[test]
    fn losses_beyond_the_interval_are_marked() {
        let page = html(&Summary::new(&records()), &[], &[]);
        assert!(page.contains("<td class=\"worse\">-0.75 [-0.75, -0.75]</td>"));
        assert!(page.contains("<td class=\"worse\">+0.50 [+0.50, +0.50]</td>"));
        assert!(!page.contains("class=\"better\"") && !page.contains("class=\"maps\"") && !page.contains("Failures"));
    }
}
