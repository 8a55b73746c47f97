use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use skimlm_core::{Code, Error, Result};

use crate::stats::{Mean, mean_of_groups, median};
use crate::{Family, Record};

/// The name of the policy that others are compared with.
pub(crate) const FULL: &str = "full";
/// The seed of every interval: summaries of equal records are equal.
const SEED: u64 = 0;

/// What an evaluation found, made from its records alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Each policy over all tasks and lengths, in the order of the records; every task and length counts alike.
    pub policies: Vec<Cell>,
    /// Policy by length: over all tasks, and over those of each family. Every task counts alike.
    pub groups: Vec<Cell>,
    /// Policy by task by length, in the order of the records, lengths ascending.
    pub cells: Vec<Cell>,
}

/// The means of some records of one policy. Differences are to `full` on the same cases.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The policy.
    pub policy: String,
    /// The task; none for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The family of the tasks, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The length, in tokens; 0 where a file does not say, none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Cases with a result.
    pub cases: usize,
    /// Cases without.
    pub errors: usize,
    /// The answers' score.
    pub score: Option<Mean>,
    /// The score less that of `full`.
    pub score_difference: Option<Mean>,
    /// The share of the evidence that was kept.
    pub recall: Option<Mean>,
    /// The loss of the continuation less that of `full`, in nats a token.
    pub loss_difference: Option<Mean>,
    /// The share of the prompt that was kept.
    pub kept: Option<Mean>,
    /// Time to the first token, in milliseconds.
    pub ttft_ms: Option<Mean>,
    /// The median over cases of `full`'s time to the first token divided by this one's.
    pub speedup: Option<f64>,
    /// The passes over the prompt, in milliseconds.
    pub prefill_ms: Option<Mean>,
    /// The most memory that any case took where the model runs, in bytes.
    pub peak_bytes: Option<u64>,
}

type Group<'a> = Vec<&'a Record>;

impl Summary {
    /// Sums records up. Of two records of one case and policy the later counts.
    pub fn new(records: &[Record]) -> Self {
        let latest: HashMap<(&str, &str), usize> =
            records.iter().enumerate().map(|(i, r)| ((r.case.as_str(), r.policy.as_str()), i)).collect();
        let records: Vec<&Record> = records
            .iter()
            .enumerate()
            .filter(|(i, r)| latest[&(r.case.as_str(), r.policy.as_str())] == *i)
            .map(|(_, r)| r)
            .collect();
        let full: HashMap<&str, &Record> =
            records.iter().filter(|r| r.policy == FULL && r.error.is_none()).map(|r| (r.case.as_str(), *r)).collect();
        let policies = in_order(records.iter().map(|r| r.policy.as_str()));
        let tasks = in_order(records.iter().map(|r| r.task.as_str()));
        let mut groups: BTreeMap<(usize, usize, usize), Group> = BTreeMap::new();
        for record in &records {
            let at = |names: &[&str], name: &str| names.iter().position(|known| *known == name).unwrap_or(names.len());
            let key = (at(&tasks, &record.task), record.length, at(&policies, &record.policy));
            groups.entry(key).or_default().push(record);
        }
        let cells = groups.iter().map(|(&(task, length, policy), group)| Cell {
            task: Some(tasks[task].to_owned()),
            family: group[0].family,
            length: Some(length),
            ..cell(policies[policy], &[group], &full)
        });
        let overall = policies.iter().enumerate().map(|(i, policy)| {
            let own: Vec<&Group> =
                groups.iter().filter(|((.., policy), _)| *policy == i).map(|(_, group)| group).collect();
            cell(policy, &own, &full)
        });
        let lengths: BTreeSet<usize> = records.iter().map(|record| record.length).collect();
        let families: BTreeSet<Family> = records.iter().filter_map(|record| record.family).collect();
        let families: Vec<Option<Family>> = [None].into_iter().chain(families.into_iter().map(Some)).collect();
        let mut grouped = Vec::new();
        for &length in &lengths {
            for &family in &families {
                for (i, policy) in policies.iter().enumerate() {
                    let own: Vec<&Group> = groups
                        .iter()
                        .filter(|((_, l, p), group)| {
                            (*l, *p) == (length, i) && (family.is_none() || group[0].family == family)
                        })
                        .map(|(_, group)| group)
                        .collect();
                    if !own.is_empty() {
                        grouped.push(Cell { family, length: Some(length), ..cell(policy, &own, &full) });
                    }
                }
            }
        }
        Self { policies: overall.collect(), groups: grouped, cells: cells.collect() }
    }

    /// Readable JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::new(Code::Internal, format!("The summary is no JSON: {error}.")).caused_by(error))
    }
}

/// Each once, as they first come.
fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn cell(policy: &str, groups: &[&Group], full: &HashMap<&str, &Record>) -> Cell {
    let mean = |value: &dyn Fn(&Record) -> Option<f64>| {
        let groups: Vec<Vec<f64>> = groups
            .iter()
            .map(|group| group.iter().filter(|r| r.error.is_none()).filter_map(|r| value(r)).collect())
            .collect();
        mean_of_groups(&groups.iter().map(Vec::as_slice).collect::<Vec<_>>(), SEED)
    };
    let of_full = |record: &Record| full.get(record.case.as_str()).copied();
    let all = || groups.iter().flat_map(|group| group.iter().copied());
    let sound = || all().filter(|record| record.error.is_none());
    let speedups: Vec<f64> =
        sound().filter_map(|r| Some(of_full(r)?.ttft_ms? / r.ttft_ms.filter(|ms| *ms > 0.0)?)).collect();
    Cell {
        policy: policy.to_owned(),
        task: None,
        family: None,
        length: None,
        cases: sound().count(),
        errors: all().count() - sound().count(),
        score: mean(&|r| r.score),
        score_difference: mean(&|r| Some(r.score? - of_full(r)?.score?)),
        recall: mean(&|r| r.recall),
        loss_difference: mean(&|r| Some(r.loss? - of_full(r)?.loss?)),
        kept: mean(&|r| r.kept),
        ttft_ms: mean(&|r| r.ttft_ms),
        speedup: median(&speedups),
        prefill_ms: mean(&|r| r.prefill_ms),
        peak_bytes: sound().filter_map(|r| r.peak_bytes).max(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(case: &str, policy: &str, score: f64, ttft_ms: f64) -> Record {
        let (task, length) = case.split_once('-').unwrap();
        Record {
            case: case.into(),
            task: task.into(),
            length: length.split('-').next().unwrap().parse().unwrap(),
            policy: policy.into(),
            score: Some(score),
            ttft_ms: Some(ttft_ms),
            loss: Some(2.0 * score),
            peak_bytes: Some(ttft_ms as u64),
            ..Record::default()
        }
    }

    fn records() -> Vec<Record> {
        vec![
            record("b-200-1", "full", 1.0, 40.0),
            record("b-200-1", "quick", 0.5, 10.0),
            record("b-100-1", "full", 0.0, 20.0),
            record("b-100-1", "quick", 1.0, 10.0),
            record("b-100-2", "full", 1.0, 30.0),
            record("b-100-2", "quick", 1.0, 10.0),
            record("a-100-1", "full", 1.0, 20.0),
        ]
    }

    #[test]
    fn cells_follow_the_records_and_lengths_ascend() {
        let summary = Summary::new(&records());
        let names: Vec<_> = summary
            .cells
            .iter()
            .map(|cell| format!("{} {} {}", cell.task.as_deref().unwrap(), cell.length.unwrap(), cell.policy))
            .collect();
        assert_eq!(names, ["b 100 full", "b 100 quick", "b 200 full", "b 200 quick", "a 100 full"]);
    }

    #[test]
    fn differences_are_paired_by_case() {
        let summary = Summary::new(&records());
        let quick = &summary.cells[1];
        assert_eq!((quick.cases, quick.score.unwrap().mean, quick.score_difference.unwrap().mean), (2, 1.0, 0.5));
        assert_eq!((quick.loss_difference.unwrap().mean, quick.speedup, quick.peak_bytes), (1.0, Some(2.5), Some(10)));
        // Lengths count alike, not cases: (1.0 + 0.5) / 2, and (0.5 - 0.5) / 2 beside full.
        let overall = &summary.policies[1];
        assert_eq!((overall.policy.as_str(), overall.cases), ("quick", 3));
        assert_eq!((overall.score.unwrap().mean, overall.score_difference.unwrap().mean), (0.75, 0.0));
    }

    #[test]
    fn full_may_be_measured_last() {
        let (first, mut records) = (Summary::new(&records()), records());
        records.sort_by_key(|record| record.policy == FULL);
        let last = Summary::new(&records);
        let quick = |summary: &Summary| summary.policies.iter().find(|cell| cell.policy == "quick").cloned().unwrap();
        let (quick, same) = (quick(&last), quick(&first));
        assert!(quick.loss_difference.is_some() && quick.score_difference.is_some());
        let means = |cell: &Cell| [cell.score_difference, cell.loss_difference].map(|mean| mean.unwrap().mean);
        assert_eq!((means(&quick), quick.speedup), (means(&same), same.speedup));
    }

    #[test]
    fn groups_are_lengths_and_families_with_tasks_alike() {
        let mut records = records();
        for record in &mut records {
            record.family = Some(if record.task == "a" { Family::Several } else { Family::Single });
        }
        let summary = Summary::new(&records);
        let names: Vec<_> = summary
            .groups
            .iter()
            .map(|cell| (cell.length.unwrap(), cell.family, cell.policy.as_str(), cell.score.unwrap().mean))
            .collect();
        let (single, several) = (Some(Family::Single), Some(Family::Several));
        assert_eq!(
            names,
            [
                // (0.5 + 1.0) / 2: two tasks of two cases and of one.
                (100, None, "full", 0.75),
                (100, None, "quick", 1.0),
                (100, single, "full", 0.5),
                (100, single, "quick", 1.0),
                (100, several, "full", 1.0),
                (200, None, "full", 1.0),
                (200, None, "quick", 0.5),
                (200, single, "full", 1.0),
                (200, single, "quick", 0.5),
            ]
        );
    }

    #[test]
    fn errors_are_counted_and_not_averaged() {
        let mut records = records();
        records[3].error = Some("out of memory".into());
        let quick = &Summary::new(&records).cells[1];
        assert_eq!((quick.cases, quick.errors, quick.score.unwrap().n), (1, 1, 1));
        records[2].error = Some("out of memory".into());
        records[3].error = None;
        assert_eq!(Summary::new(&records).cells[1].score_difference.unwrap().n, 1);
    }

    #[test]
    fn the_later_record_of_a_case_counts() {
        let mut records = records();
        records.push(record("b-200-1", "quick", 0.0, 5.0));
        let summary = Summary::new(&records);
        assert_eq!((summary.cells[3].cases, summary.cells[3].score.unwrap().mean), (1, 0.0));
    }

    #[test]
    fn summaries_are_data() {
        let json: Value = serde_json::from_str(&Summary::new(&records()).to_json().unwrap()).unwrap();
        let quick = &json["cells"][1];
        let told = [&quick["policy"], &quick["length"], &quick["scoreDifference"]["mean"]];
        assert_eq!(told, [&json!("quick"), &json!(100), &json!(0.5)]);
        assert_eq!(Summary::new(&[]), Summary { policies: Vec::new(), groups: Vec::new(), cells: Vec::new() });
    }
}
