use std::path::Path;

use skimlm_core::{Code, Error, Result};

use super::Tokens;
use super::jsonl::unreadable;
use crate::{Case, Metric, Raw};

/// The needle test of GemFilter's evaluation, which PromptDistill's repeats: one sentence in essays, at every length
/// and depth. The default is the published setting, both flaws of the harness mended.
#[derive(Debug, Clone)]
pub struct NeedleTest {
    /// The sentence, with the line breaks around it.
    pub needle: String,
    /// The question.
    pub question: String,
    /// The words that count.
    pub answer: String,
    /// In tokens; the published grid is 40 even steps from 1000 to 128 000.
    pub lengths: Vec<usize>,
    /// In percent.
    pub depths: Vec<usize>,
    /// The tokens left free for prompt and answer.
    pub slack: usize,
    /// The first flaw: the harness encodes the essays, the needle and even the full stop it looks for with this
    /// leading token and decodes them without removing it, so that the prompt has it directly before the needle.
    /// None mends it.
    pub leading: Option<u32>,
    /// Mends the second flaw: false takes the files in the order of the file system, as the harness does.
    pub sorted: bool,
}

impl Default for NeedleTest {
    fn default() -> Self {
        Self {
            needle:
                "\nThe best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.\n"
                    .into(),
            question: "What is the best thing to do in San Francisco?".into(),
            answer: "eat a sandwich and sit in Dolores Park on a sunny day.".into(),
            lengths: Self::even(40, 1000, 128_000),
            depths: Self::even(10, 0, 100),
            slack: 200,
            leading: None,
            sorted: true,
        }
    }
}

impl NeedleTest {
    /// `n` even steps from one number to another, both included; their middle for one.
    pub fn even(n: usize, from: usize, to: usize) -> Vec<usize> {
        let (first, width) = (from as f64, to as f64 - from as f64);
        let share = |i: usize| if n == 1 { 0.5 } else { i as f64 / (n - 1) as f64 };
        (0..n).map(|i| (first + width * share(i)).round() as usize).collect()
    }

    /// The cases over a folder of `.txt` files, length by length, depth by depth.
    ///
    /// `ERR_INVALID_ARG` for a folder without text, and for a length that does not hold the needle.
    pub fn cases<'a>(
        &'a self,
        folder: &Path,
        tokens: &'a dyn Tokens,
    ) -> Result<impl Iterator<Item = Result<Case>> + use<'a>> {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let once = essays(folder, self.sorted)?;
        let mut text = once.clone();
        let mut size = self.encode(tokens, &text)?.len();
        while size < longest {
            // Repeated whole, as the harness does, but without counting again after each.
            text.push_str(&once.repeat((longest - size).div_ceil(size.max(1)).max(1)));
            size = self.encode(tokens, &text)?.len();
        }
        let ids = self.encode(tokens, &text)?;
        let grid = self.lengths.iter().flat_map(|&length| self.depths.iter().map(move |&depth| (length, depth)));
        Ok(grid.map(move |(length, depth)| self.case(&ids, length, depth, tokens)))
    }

    fn encode(&self, tokens: &dyn Tokens, text: &str) -> Result<Vec<u32>> {
        let ids = tokens.encode(text)?;
        Ok(self.leading.into_iter().chain(ids).collect())
    }

    fn case(&self, ids: &[u32], length: usize, depth: usize, tokens: &dyn Tokens) -> Result<Case> {
        // Cut to length, through text and back, and then again for the needle and the slack.
        let mut ids = self.encode(tokens, &tokens.decode(&ids[..length.min(ids.len())])?)?;
        let needle = self.encode(tokens, &self.needle)?;
        let Some(room) = length.checked_sub(self.slack + needle.len()) else {
            let what =
                format!("{length} tokens do not hold the needle and {} tokens of slack. Ask for more.", self.slack);
            return Err(Error::new(Code::InvalidArg, what).with("length", length));
        };
        ids.truncate(room);
        let mut at = ids.len();
        if depth < 100 {
            at = ids.len() * depth / 100;
            // Back to a full stop. With the first flaw the leading token stops the search, too.
            let stops = self.encode(tokens, ".")?;
            while at > 0 && !stops.contains(&ids[at - 1]) {
                at -= 1;
            }
        }
        ids.splice(at..at, needle);
        let document = tokens.decode(&ids)?;
        let hidden = self.needle.trim();
        let flawed = if self.leading.is_some() || !self.sorted { "-published" } else { "" };
        let evidence = document.find(hidden).map(|start| start..start + hidden.len()).into_iter().collect();
        Ok(Case {
            task: "needle-folder".into(),
            id: format!("needle-folder-{length}-d{depth}{flawed}"),
            document,
            question: self.question.clone(),
            answers: vec![self.answer.clone()],
            metric: Metric::NeedleWords,
            evidence,
            length,
            depth: Some(depth as f32 / 100.0),
            max_new_tokens: 50,
            continuation: None,
            // The protocol's prompt, its stray chat marker included.
            raw: Some(Raw {
                before: "<|im_start|> This is a very long story book: <book> ".into(),
                after: format!(" </book>.\n Based on the content of the book, Question: {}\nAnswer:", self.question),
            }),
        })
    }
}

fn essays(folder: &Path, sorted: bool) -> Result<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    if sorted {
        files.sort();
    }
    let mut text = String::new();
    for path in &files {
        // Line ends as the harness reads them.
        let essay = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?.replace("\r\n", "\n");
        text.push_str(&essay);
    }
    if text.trim().is_empty() {
        let what = format!("{} has no .txt files with text. Point to the folder of essays.", folder.display());
        return Err(Error::new(Code::InvalidArg, what).with("folder", folder.display().to_string()));
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Characters as tokens; `§` is special.
    pub(in crate::read) struct Characters;

    impl Tokens for Characters {
        fn encode(&self, text: &str) -> Result<Vec<u32>> {
            Ok(text.chars().map(u32::from).collect())
        }

        fn decode(&self, ids: &[u32]) -> Result<String> {
            Ok(ids.iter().filter_map(|&id| char::from_u32(id)).collect())
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.txt"), "Bees hum. ").unwrap();
        std::fs::write(folder.path().join("a.txt"), "Ants run far. Ants dig.\r\n").unwrap();
        std::fs::write(folder.path().join("c.md"), "Not read.").unwrap();
        folder
    }

    fn test(lengths: &[usize], depths: &[usize]) -> NeedleTest {
        NeedleTest {
            needle: "\nFind me.\n".into(),
            lengths: lengths.into(),
            depths: depths.into(),
            slack: 5,
            ..NeedleTest::default()
        }
    }

    #[test]
    fn the_published_grid() {
        let NeedleTest { lengths, depths, .. } = NeedleTest::default();
        assert_eq!(depths, [0, 11, 22, 33, 44, 56, 67, 78, 89, 100]);
        assert_eq!(NeedleTest::even(1, 0, 100), [50]);
        assert_eq!(
            (lengths.len(), lengths[0], lengths[1], lengths[36], lengths[39]),
            (40, 1000, 4256, 118_231, 128_000)
        );
    }

    #[test]
    fn the_needle_stands_behind_a_full_stop() {
        let test = test(&[45], &[0, 30, 60, 100]);
        let cases: Vec<Case> = test.cases(folder().path(), &Characters).unwrap().map(Result::unwrap).collect();
        let documents: Vec<_> = cases.iter().map(|case| case.document.as_str()).collect();
        // 45 less 10 of needle and 5 of slack: 30 characters of the sorted, repeated essays.
        assert_eq!(
            documents,
            [
                "\nFind me.\nAnts run far. Ants dig.\nBees h",
                "\nFind me.\nAnts run far. Ants dig.\nBees h",
                "Ants run far.\nFind me.\n Ants dig.\nBees h",
                "Ants run far. Ants dig.\nBees h\nFind me.\n",
            ]
        );
        for case in &cases {
            assert_eq!(&case.document[case.evidence[0].clone()], "Find me.");
        }
        assert_eq!((cases[2].depth, cases[2].id.as_str()), (Some(0.6), "needle-folder-45-d60"));
    }

    #[test]
    fn the_leading_token_comes_along_where_the_harness_leaves_it() {
        let test = NeedleTest { leading: Some(u32::from('§')), ..test(&[45], &[30, 60]) };
        let cases: Vec<Case> = test.cases(folder().path(), &Characters).unwrap().map(Result::unwrap).collect();
        // Encoded twice, the essays begin with two; one stands before the needle and stops the way back.
        assert_eq!(cases[0].document, "§§§\nFind me.\nAnts run far. Ants dig.\nBee");
        assert_eq!(cases[1].document, "§§Ants run far.§\nFind me.\n Ants dig.\nBee");
    }

    #[test]
    fn essays_repeat_to_the_longest_length() {
        let test = test(&[400], &[100]);
        let case = test.cases(folder().path(), &Characters).unwrap().next().unwrap().unwrap();
        assert_eq!(case.document.chars().count(), 395);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let short = test(&[12], &[0]);
        assert!(short.cases(folder().path(), &Characters).unwrap().next().unwrap().is_err());
        let empty = tempfile::tempdir().unwrap();
        assert!(short.cases(empty.path(), &Characters).err().unwrap().message.contains("no .txt files"));
        assert!(short.cases(Path::new("absent"), &Characters).is_err());
    }
}
