use std::collections::{BTreeMap, BTreeSet};

use super::escaped;
use crate::Record;
use crate::stats::mean;

const WIDTH: usize = 56;
const HEIGHT: usize = 26;
const LEFT: usize = 52;
const TOP: usize = 8;
const BOTTOM: usize = 40;

/// Score (where nothing was answered: evidence recall) by length and depth, one map for each task with depths and each
/// policy. With it what is shown.
pub(super) fn heatmaps(records: &[Record]) -> (&'static str, String) {
    let answered = records.iter().any(|record| record.score.is_some());
    let what = if answered { "Score by length and depth" } else { "Evidence recall by length and depth" };
    // Depths in thousandths: a key that is equal where the printed depth is.
    type Cells = BTreeMap<(u32, usize), Vec<f64>>;
    let mut maps: Vec<((&str, &str), Cells)> = Vec::new();
    for record in records.iter().filter(|record| record.error.is_none()) {
        let value = if answered { record.score } else { record.recall };
        let (Some(depth), Some(score)) = (record.depth, value) else { continue };
        let key = (record.task.as_str(), record.policy.as_str());
        let at = maps.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            maps.push((key, Cells::new()));
            maps.len() - 1
        });
        maps[at].1.entry(((depth * 1000.0).round() as u32, record.length)).or_default().push(score);
    }
    maps.sort_by_key(|((task, _), _)| *task);
    (what, maps.iter().map(|((task, policy), cells)| heatmap(what, task, policy, cells)).collect())
}

fn heatmap(what: &str, task: &str, policy: &str, cells: &BTreeMap<(u32, usize), Vec<f64>>) -> String {
    let depths: Vec<u32> = cells.keys().map(|(depth, _)| *depth).collect::<BTreeSet<_>>().into_iter().collect();
    let lengths: Vec<usize> = cells.keys().map(|(_, length)| *length).collect::<BTreeSet<_>>().into_iter().collect();
    let (width, height) = (LEFT + WIDTH * lengths.len() + 8, TOP + HEIGHT * depths.len() + BOTTOM);
    let title = format!("{}, {}", escaped(task), escaped(policy));
    let mut svg = format!(
        "<figure><figcaption>{title}</figcaption>\
         <svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{what}: {title}\">"
    );
    for (row, depth) in depths.iter().enumerate() {
        let y = TOP + HEIGHT * row;
        let text = y + HEIGHT / 2 + 4;
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{} %</text>",
            LEFT - 6,
            f64::from(*depth) / 10.0
        ));
        for (column, length) in lengths.iter().enumerate() {
            let Some(scores) = cells.get(&(*depth, *length)) else { continue };
            let Some(score) = mean(scores, 0) else { continue };
            let x = LEFT + WIDTH * column;
            // Opacity over the page's own ground: light and dark come out right without a second palette.
            let strength = 0.06 + 0.94 * score.mean.clamp(0.0, 1.0);
            let ink = if score.mean > 0.55 { "on" } else { "off" };
            svg.push_str(&format!(
                "<g><title>{length} tokens, depth {} %: {:.2}, {} cases</title>\
                 <rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" class=\"heat\" fill-opacity=\"{strength:.2}\"/>\
                 <text x=\"{}\" y=\"{text}\" text-anchor=\"middle\" class=\"{ink}\">{:.2}</text></g>",
                f64::from(*depth) / 10.0,
                score.mean,
                score.n,
                WIDTH - 2,
                HEIGHT - 2,
                x + WIDTH / 2 - 1,
                score.mean,
            ));
        }
    }
    let y = TOP + HEIGHT * depths.len() + 14;
    for (column, length) in lengths.iter().enumerate() {
        let x = LEFT + WIDTH * column + WIDTH / 2 - 1;
        svg.push_str(&format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{length}</text>"));
    }
    let middle = LEFT + WIDTH * lengths.len() / 2;
    svg.push_str(&format!(
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" class=\"axis\">tokens</text></svg></figure>\n",
        y + 18
    ));
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_for_each_task_and_policy_with_depths() {
        let record = |task: &str, policy: &str, depth: Option<f32>, score: f64| Record {
            task: task.into(),
            policy: policy.into(),
            length: 1024,
            depth,
            score: Some(score),
            ..Record::default()
        };
        let records = [
            record("needle", "full", Some(0.125), 1.0),
            record("needle", "full", Some(0.125), 0.5),
            record("needle", "<b>", Some(1.0), 0.0),
            record("common", "full", None, 1.0),
        ];
        let (what, svg) = heatmaps(&records);
        assert!(what.starts_with("Score"), "{what}");
        assert_eq!(svg.matches("<svg").count(), 2);
        assert!(svg.contains("1024 tokens, depth 12.5 %: 0.75, 2 cases"));
        assert!(svg.contains("needle, &lt;b&gt;") && !svg.contains("<b>") && !svg.contains("common"));
        let chosen: Vec<Record> =
            records.into_iter().map(|r| Record { recall: r.score.map(|s| s / 2.0), score: None, ..r }).collect();
        let (what, svg) = heatmaps(&chosen);
        assert!(what.starts_with("Evidence recall") && svg.contains("depth 100 %: 0.00, 1 cases"), "{svg}");
        assert!(svg.contains("depth 12.5 %: 0.38, 2 cases"));
    }
}
