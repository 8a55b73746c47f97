//! Choices that no score makes: the controls that every method must beat.

use skimlm_core::{Pass, Policy, Reading, Report, Result, Shape};

use crate::choose::free_tokens;
use crate::options::{Budget, DEFAULT_BUDGET, Pins};

/// Refuses budgets that only scores can fill.
pub(crate) fn check(budget: Option<Budget>) -> Result<()> {
    budget.map_or(Ok(()), Budget::check_blind)
}

/// How a prompt of `tokens` tokens is read.
pub(crate) fn reading(budget: Option<Budget>, tokens: usize) -> Reading {
    Reading::Short { kept: budget.unwrap_or(DEFAULT_BUDGET).of(tokens) }
}

/// A prompt of which the pins and some other tokens are read, renumbered from the first position.
pub(crate) struct Fixed<F> {
    pins: Pins,
    /// None: [`DEFAULT_BUDGET`], or more if the pins need it.
    budget: Option<Budget>,
    /// The order in which free tokens are taken, given their number.
    order: F,
    report: Option<Report>,
}

impl<F: FnMut(usize) -> Vec<usize> + Send> Fixed<F> {
    pub(crate) fn new(pins: Pins, budget: Option<Budget>, order: F) -> Self {
        Self { pins, budget, order, report: None }
    }
}

impl<F: FnMut(usize) -> Vec<usize> + Send> Policy for Fixed<F> {
    fn begin(&mut self, mut prompt: Pass, _: &Shape) -> Result<Pass> {
        let n = prompt.rows.len();
        let mut keep = self.pins.flags(&prompt.rows);
        let pinned = keep.iter().filter(|k| **k).count();
        let budget = self.budget.unwrap_or(DEFAULT_BUDGET).of(n);
        let option = self.budget.map(|_| "policy.budget");
        let left = free_tokens(budget, pinned, self.pins.charge_budget, option)?;
        let free: Vec<usize> = (0..n).filter(|&i| !keep[i]).collect();
        for i in (self.order)(free.len()).into_iter().take(left) {
            keep[free[i]] = true;
        }
        let indices: Vec<u32> = (0..n as u32).filter(|&i| keep[i as usize]).collect();
        prompt.rows = prompt.rows.gather_fresh(&indices);
        self.report = Some(Report {
            budget,
            scores: vec![0.0; indices.len()],
            reason: format!("{} of {n} tokens, chosen without looking at them", indices.len()),
            indices,
            ..Report::default()
        });
        Ok(prompt)
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn report(&self) -> Option<Report> {
        self.report.clone()
    }
}
