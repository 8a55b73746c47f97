use skimlm_core::Result;

use crate::{Case, Count, Haystack, Recipe, task};

/// Questions about all of a text: no part of it holds the answer.
const ASKED: [&str; 12] = [
    "Summarise the text in three sentences.",
    "What is this text about?",
    "Who are the main characters of the story?",
    "Give a short summary of the document.",
    "What happens in this story?",
    "Write a title for this text.",
    "Describe the mood of the text.",
    "List the main events in order.",
    "What are the key points?",
    "Summarize.",
    "Explain the text to a child.",
    "Can you give me an overview of this document?",
];

/// One case of each question about all of a text of the recipe's size.
pub(super) fn about_everything(text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Vec<Case>> {
    let case = |(i, question): (usize, &&str)| {
        let recipe = Recipe { seed: recipe.seed + i as u64, ..*recipe };
        let case = task("needle")?.make(text, &recipe, count)?;
        Ok(Case { question: (*question).to_owned(), evidence: Vec::new(), ..case })
    };
    ASKED.iter().enumerate().map(case).collect()
}
