use std::ops::Range;

/// The share of the evidence's bytes that the kept spans cover, 0 to 1; none where the evidence is empty.
///
/// Both lists are byte ranges of the document, in any order; what overlaps counts once.
pub fn evidence_recall(evidence: &[Range<usize>], kept: &[Range<usize>]) -> Option<f64> {
    let evidence = merged(evidence);
    let total: usize = evidence.iter().map(ExactSizeIterator::len).sum();
    let kept = merged(kept);
    let mut covered = 0;
    let mut next = 0;
    for piece in &evidence {
        while kept.get(next).is_some_and(|span| span.end <= piece.start) {
            next += 1;
        }
        covered += kept[next..]
            .iter()
            .take_while(|span| span.start < piece.end)
            .map(|span| span.end.min(piece.end) - span.start.max(piece.start))
            .sum::<usize>();
    }
    (total > 0).then(|| covered as f64 / total as f64)
}

/// Ascending ranges that neither overlap nor touch nor are empty.
pub(crate) fn merged(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn counts_covered_bytes_once() {
        assert_eq!(evidence_recall(&[10..20], &[]), Some(0.0));
        assert_eq!(evidence_recall(&[10..20], &[0..100]), Some(1.0));
        assert_eq!(evidence_recall(&[10..20], &[18..30, 0..12]), Some(0.4));
        assert_eq!(evidence_recall(&[10..20], &[12..15, 13..16, 12..14]), Some(0.4));
        assert_eq!(evidence_recall(&[40..50, 10..20, 15..20], &[19..41]), Some(0.1));
        assert_eq!(evidence_recall(&[10..20, 40..50], &[0..5, 5..9, 45..60]), Some(0.25));
    }

    #[test]
    fn no_evidence_has_no_recall() {
        assert_eq!(evidence_recall(&[], &[0..9]), None);
        assert_eq!(evidence_recall(&[3..3], &[0..9]), None);
    }

    #[test]
    fn touching_ranges_become_one() {
        assert_eq!(merged(&[5..7, 0..2, 2..4, 6..9, 8..8]), [0..4, 5..9]);
    }
}
