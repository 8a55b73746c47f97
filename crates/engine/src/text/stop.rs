use std::collections::{HashMap, VecDeque};

use skimlm_core::{Error, Result};

/// How many stop strings a request may have.
pub const MAX_STOP_STRINGS: usize = 64;
/// How long a stop string may be, in bytes of UTF-8.
pub const MAX_STOP_BYTES: usize = 4096;

/// Text that may be delivered, and whether a stop string ended it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stopped {
    /// The next text.
    pub text: String,
    /// The index of the stop string that followed it.
    pub stop: Option<usize>,
}

/// A state of the automaton: the longest beginning of a stop string that the text ends with.
#[derive(Debug, Default)]
struct Node {
    /// Length of that beginning in bytes.
    depth: usize,
    /// The state of the next longest one.
    fallback: usize,
    /// The longest stop string that the text ends with.
    stop: Option<usize>,
}

/// Looks for stop strings in text that comes in parts (Aho and Corasick, 1975).
///
/// The text ends at the first byte at which a stop string is complete; of several that are
/// complete there the longest counts. Text that may be the beginning of a stop string is held back.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    nodes: Vec<Node>,
    next: HashMap<(usize, u8), usize>,
    state: usize,
    held: String,
}

impl StopMatcher {
    /// `ERR_INVALID_ARG` for an empty stop string, too many or too long ones.
    pub fn new(stops: &[String]) -> Result<Self> {
        if stops.len() > MAX_STOP_STRINGS {
            return Err(Error::invalid_option("stop", stops.len(), format!("at most {MAX_STOP_STRINGS} strings")));
        }
        let mut nodes = vec![Node::default()];
        let mut next = HashMap::new();
        for (index, stop) in stops.iter().enumerate() {
            if stop.is_empty() {
                return Err(Error::invalid_option("stop", stop.as_str(), "strings that are not empty"));
            }
            if stop.len() > MAX_STOP_BYTES {
                let expected = format!("strings of at most {MAX_STOP_BYTES} bytes; number {index} has {}", stop.len());
                return Err(Error::invalid_option("stop", stop.len(), expected));
            }
            let mut state = 0;
            for (depth, byte) in stop.bytes().enumerate() {
                state = *next.entry((state, byte)).or_insert_with(|| {
                    nodes.push(Node { depth: depth + 1, ..Node::default() });
                    nodes.len() - 1
                });
            }
            nodes[state].stop.get_or_insert(index);
        }
        let mut matcher = Self { stops: stops.to_vec(), nodes, next, state: 0, held: String::new() };
        matcher.link();
        Ok(matcher)
    }

    /// Sets the fallbacks, shorter states first, since they lead to shorter ones still.
    fn link(&mut self) {
        let mut edges: Vec<_> = self.next.iter().map(|(&(from, byte), &to)| (from, byte, to)).collect();
        edges.sort_unstable();
        let mut queue = VecDeque::from([0]);
        while let Some(state) = queue.pop_front() {
            let first = edges.partition_point(|edge| edge.0 < state);
            for &(_, byte, to) in edges[first..].iter().take_while(|edge| edge.0 == state) {
                let fallback = if state == 0 { 0 } else { self.step(self.nodes[state].fallback, byte) };
                self.nodes[to].fallback = fallback;
                self.nodes[to].stop = self.nodes[to].stop.or(self.nodes[fallback].stop);
                queue.push_back(to);
            }
        }
    }

    fn step(&self, mut state: usize, byte: u8) -> usize {
        loop {
            match self.next.get(&(state, byte)) {
                Some(&to) => return to,
                None if state == 0 => return 0,
                None => state = self.nodes[state].fallback,
            }
        }
    }

    /// Adds text and gives what can be delivered. After a stop the rest of the text is dropped and
    /// the matcher is as new.
    pub fn push(&mut self, text: &str) -> Stopped {
        let mut end = self.held.len();
        self.held.push_str(text);
        for byte in text.bytes() {
            self.state = self.step(self.state, byte);
            end += 1;
            if let Some(stop) = self.nodes[self.state].stop {
                self.held.truncate(end - self.stops[stop].len());
                self.state = 0;
                return Stopped { text: std::mem::take(&mut self.held), stop: Some(stop) };
            }
        }
        let keep = self.held.len() - self.nodes[self.state].depth;
        Stopped { text: self.held.drain(..keep).collect(), stop: None }
    }

    /// The text that was held back, when no more is to come.
    pub fn finish(&mut self) -> String {
        self.state = 0;
        std::mem::take(&mut self.held)
    }

    /// A stop string by its index.
    pub fn stop(&self, index: usize) -> Option<&str> {
        self.stops.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule, written down as plainly as can be.
    fn naive(stops: &[String], text: &str) -> Stopped {
        for end in 0..=text.len() {
            let ending = stops.iter().enumerate().filter(|(_, stop)| text.as_bytes()[..end].ends_with(stop.as_bytes()));
            // The first of the longest.
            if let Some((index, stop)) = ending.rev().max_by_key(|(_, stop)| stop.len()) {
                return Stopped { text: text[..end - stop.len()].into(), stop: Some(index) };
            }
        }
        Stopped { text: text.into(), stop: None }
    }

    fn streamed(stops: &[String], parts: &[String]) -> Stopped {
        let mut matcher = StopMatcher::new(stops).unwrap();
        let mut text = String::new();
        for part in parts {
            let step = matcher.push(part);
            text += &step.text;
            if step.stop.is_some() {
                return Stopped { text, stop: step.stop };
            }
        }
        Stopped { text: text + &matcher.finish(), stop: None }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn agrees_with_the_naive_search(
            stops in prop::collection::vec("[ab鯨]{1,4}", 0..5),
            parts in prop::collection::vec("[abc鯨\u{1F40B}]{0,5}", 0..8),
        ) {
            prop_assert_eq!(streamed(&stops, &parts), naive(&stops, &parts.concat()));
        }
    }

    #[test]
    fn holds_back_only_what_may_become_a_stop_string() {
        let mut matcher = StopMatcher::new(&["\n\nQ:".into()]).unwrap();
        assert_eq!(matcher.push("yes\n").text, "yes");
        assert_eq!(matcher.push("\n").text, "");
        assert_eq!(matcher.push("\n").text, "\n");
        assert_eq!(matcher.push("Q").text, "");
        assert_eq!(matcher.push(": more"), Stopped { text: String::new(), stop: Some(0) });
        assert_eq!(matcher.stop(0), Some("\n\nQ:"));
    }

    #[test]
    fn limits_are_named() {
        let refused = |stops: &[String]| {
            let error = StopMatcher::new(stops).unwrap_err();
            assert_eq!(error.code, skimlm_core::Code::InvalidArg);
            ["option", "value", "expected"].map(|key| error.details[key].clone())
        };
        assert_eq!(refused(&["a".into(), String::new()])[1], "");
        assert_eq!(refused(&vec!["a".into(); 65])[1], 65);
        assert_eq!(refused(&["鯨".repeat(1366)])[1], 4098);
        assert!(StopMatcher::new(&vec!["x".repeat(4096); 64]).is_ok());
    }
}
