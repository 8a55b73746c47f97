use skimlm_core::{Code, Report, Result};
use skimlm_engine::{Cancel, Loaded};

use super::chorus::{Answer, alone, listen};
use super::contender::{Chosen, Contender};
use super::measure::{everything, kept};
use super::prompt::ReadCase;
use crate::{Case, Family, Record};

/// What contenders keep of one case, without any answer: as few filter passes as they need together.
pub(crate) fn select(
    case: &Case,
    family: Option<Family>,
    contenders: &[&Contender],
    reading: &ReadCase,
    loaded: &Loaded,
    cancel: &Cancel,
) -> Result<Vec<Record>> {
    let rows = &reading.assembled.rows;
    let mut records: Vec<Record> = contenders.iter().map(|c| Record::of(case, family, &c.name)).collect();
    let mut open: Vec<(usize, Chosen)> = Vec::new();
    for (i, contender) in contenders.iter().enumerate() {
        let record = &mut records[i];
        record.prompt_tokens = rows.len();
        if contender.is_full() {
            everything(case, record);
            continue;
        }
        match contender.on(case, reading, loaded) {
            Ok(Chosen { forced: Some(forced), .. }) => kept(case, &forced, None, reading, record),
            Ok(chosen) => open.push((i, chosen)),
            Err(error) => record.error = Some(error.to_string()),
        }
    }
    while !open.is_empty() {
        let policies = open.iter().map(|(_, chosen)| chosen.build(loaded)).collect::<Result<Vec<_>>>()?;
        let mut later = Vec::new();
        for ((i, chosen), heard) in open.into_iter().zip(listen(policies, rows, loaded, cancel)?) {
            let choice = match heard {
                Answer::Done(choice) => choice,
                Answer::Alone => alone(chosen.build(loaded)?, rows, loaded, cancel),
                Answer::Later => {
                    later.push((i, chosen));
                    continue;
                }
            };
            note(choice, case, reading, &mut records[i])?;
        }
        open = later;
    }
    Ok(records)
}

fn note(choice: Result<Option<Report>>, case: &Case, reading: &ReadCase, record: &mut Record) -> Result<()> {
    match choice {
        Ok(Some(report)) => kept(case, &report.indices, report.heads.as_deref(), reading, record),
        Ok(None) => everything(case, record),
        Err(error) if error.code == Code::Cancelled => return Err(error),
        Err(error) => record.error = Some(error.to_string()),
    }
    Ok(())
}
