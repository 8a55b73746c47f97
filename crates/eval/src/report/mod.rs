//! A summary as text for people: a Markdown table and a page without any other file.

mod chart;
mod heatmap;
mod page;
mod table;

pub use page::html;
pub use table::markdown;

use crate::stats::Mean;

/// Text for HTML and SVG, in elements and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number with its interval, as `0.62 [0.50, 0.71]`, signed where it is a difference.
fn interval(mean: Option<Mean>, signed: bool) -> String {
    let number = |value: f64| {
        // No minus in front of a rounded zero.
        let value = (value * 100.0).round() / 100.0 + 0.0;
        if signed { format!("{value:+.2}") } else { format!("{value:.2}") }
    };
    mean.map_or_else(dash, |m| format!("{} [{}, {}]", number(m.mean), number(m.low), number(m.high)))
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<a href='x'>\"&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
    }

    #[test]
    fn intervals_are_short_and_signed() {
        let mean = Some(Mean { mean: -0.001, low: -0.125, high: 0.5, n: 9 });
        assert_eq!(interval(mean, false), "0.00 [-0.13, 0.50]");
        assert_eq!(interval(mean, true), "+0.00 [-0.13, +0.50]");
        assert_eq!(interval(None, true), "-");
    }
}
