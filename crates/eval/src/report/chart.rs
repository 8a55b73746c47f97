use super::escaped;
use crate::Summary;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// A policy's place in the plot.
struct Point<'a> {
    policy: &'a str,
    ms: f64,
    score: f64,
    low: f64,
    high: f64,
}

/// Score against time to the first token, over all tasks and lengths; up and to the left is better. Empty where no
/// policy has both.
pub(super) fn chart(summary: &Summary) -> String {
    let points: Vec<Point> = summary
        .policies
        .iter()
        .filter_map(|cell| {
            let (ms, score) = (cell.ttft_ms?.mean, cell.score?);
            (ms > 0.0).then_some(Point {
                policy: &cell.policy,
                ms,
                score: score.mean,
                low: score.low,
                high: score.high,
            })
        })
        .collect();
    let (Some(least), Some(most)) = (
        points.iter().map(|point| point.ms).min_by(f64::total_cmp),
        points.iter().map(|point| point.ms).max_by(f64::total_cmp),
    ) else {
        return String::new();
    };
    // Times differ by factors, and one policy alone still needs a width.
    let (from, to) = ((least / 1.2).ln(), (most * 1.2).ln());
    let x = |ms: f64| LEFT + (ms.ln() - from) / (to - from) * (WIDTH - LEFT - RIGHT);
    let y = |score: f64| TOP + (1.0 - score.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" \
         aria-label=\"Score against time to the first token\">"
    );
    for step in 0..=4 {
        let score = f64::from(step) / 4.0;
        let at = y(score);
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" class=\"grid\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{score:.2}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        ));
    }
    for ms in ticks(from.exp(), to.exp()) {
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ms}</text>",
            x(ms),
            HEIGHT - BOTTOM + 18.0
        ));
    }
    svg.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"axis\">time to first token, ms (log)</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0
    ));
    let labels = labels(&points.iter().map(|point| y(point.score)).collect::<Vec<_>>());
    for (point, label) in points.iter().zip(labels) {
        let (px, py, policy) = (x(point.ms), y(point.score), escaped(point.policy));
        svg.push_str(&format!(
            "<g><title>{policy}: {:.2} [{:.2}, {:.2}], {:.0} ms</title>\
             <line x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" class=\"bar\"/>\
             <circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"5\" class=\"dot\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"name\">{policy}</text></g>",
            point.score,
            point.low,
            point.high,
            point.ms,
            y(point.low),
            y(point.high),
            px + 9.0,
            label + 4.0
        ));
    }
    svg + "</svg></figure>\n"
}

/// Labels keep a line's distance from each other, as near their points as that allows.
fn labels(points: &[f64]) -> Vec<f64> {
    const LINE: f64 = 15.0;
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[a].total_cmp(&points[b]));
    let mut placed = points.to_vec();
    for pair in order.windows(2) {
        placed[pair[1]] = placed[pair[1]].max(placed[pair[0]] + LINE);
    }
    // Pushed down beyond the plot, they move up again together.
    if let Some(over) = order.last().map(|&last| placed[last] - (HEIGHT - BOTTOM)).filter(|over| *over > 0.0) {
        placed.iter_mut().for_each(|label| *label -= over);
    }
    placed
}

/// 1, 2 and 5 times powers of ten within the range.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
    all.filter(|tick| (from..=to).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn record(policy: &str, ms: Option<f64>) -> Record {
        Record { case: "c".into(), policy: policy.into(), score: Some(0.5), ttft_ms: ms, ..Record::default() }
    }

    #[test]
    fn a_dot_for_each_policy_with_both() {
        let records = [record("full", Some(900.0)), record("<i>", Some(90.0)), record("none", None)];
        let svg = chart(&Summary::new(&records));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("&lt;i&gt;: 0.50 [0.50, 0.50], 90 ms") && !svg.contains("<i>") && !svg.contains("none"));
        assert_eq!(chart(&Summary::new(&[record("none", None)])), "");
    }

    #[test]
    fn labels_do_not_overlap() {
        assert_eq!(labels(&[100.0, 200.0, 101.0]), [100.0, 200.0, 115.0]);
        assert_eq!(labels(&[290.0, 291.0]), [279.0, 294.0]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(90.0, 1100.0), [100.0, 200.0, 500.0, 1000.0]);
    }
}
