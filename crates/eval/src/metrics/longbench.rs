use super::infinite::digits;

pub(super) fn class(answer: &str, reference: &str, classes: &[String]) -> f64 {
    let mut found: Vec<&str> = classes.iter().map(String::as_str).filter(|class| answer.contains(class)).collect();
    // A name within the right one does not count against it. The scorer drops it from the list that it walks, and so
    // skips the one after; names are only compared with published numbers if this does too.
    let mut i = 0;
    while i < found.len() {
        let class = found[i];
        if reference.contains(class) && class != reference {
            let first = found.iter().position(|other| *other == class).unwrap_or(i);
            found.remove(first);
        }
        i += 1;
    }
    if found.contains(&reference) { 1.0 / found.len() as f64 } else { 0.0 }
}

pub(super) fn count(answer: &str, reference: &str) -> f64 {
    let (mut right, mut all) = (0, 0);
    for number in digits(answer) {
        all += 1;
        right += usize::from(number == reference);
    }
    if all == 0 { 0.0 } else { right as f64 / all as f64 }
}

pub(super) fn retrieval(answer: &str, reference: &str) -> f64 {
    const MARK: &str = "Paragraph ";
    let number = reference.match_indices(MARK).find_map(|(at, _)| {
        let rest = &reference[at + MARK.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    });
    number.map_or(0.0, |number| count(answer, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_share_the_point() {
        let classes = ["Date", "Other number", "number", "Group"].map(str::to_owned);
        assert_eq!(class("Date", "Date", &classes), 1.0);
        assert_eq!(class("Date or Group", "Date", &classes), 0.5);
        assert_eq!(class("Group", "Date", &classes), 0.0);
        assert_eq!(class("", "Date", &classes), 0.0);
        // "number" is part of the right name and does not count.
        assert_eq!(class("Other number", "Other number", &classes), 1.0);
        // The reverse is not forgiven.
        assert_eq!(class("Other number", "number", &classes), 0.5);
    }

    #[test]
    fn of_two_parts_in_a_row_the_second_stays() {
        let classes = ["a", "b", "a b"].map(str::to_owned);
        assert_eq!(class("a b", "a b", &classes), 0.5);
    }

    #[test]
    fn numbers_are_counted() {
        assert_eq!(count("There are 12, not 7 or 12.", "12"), 2.0 / 3.0);
        assert_eq!(count("none", "12"), 0.0);
        assert_eq!(count("112", "12"), 0.0);
        assert_eq!(retrieval("Paragraph 3", "Paragraph 3"), 1.0);
        assert_eq!(retrieval("30 3", "Paragraph 3"), 0.5);
        assert_eq!(retrieval("3", "no number"), 0.0);
    }
}
