//! `skimlm-train`: see `skimlm-train help`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::Cancel;
use skimlm_train::anchors::{self, Anchors};
use skimlm_train::checkpoint::Checkpoint;
use skimlm_train::course::{Course, End, Plan, Run};
use skimlm_train::journal::Line;
use skimlm_train::net::Net;
use skimlm_train::optim::{AdamW, Optimizer, Rate};
use skimlm_train::task::{Level, Sample};

#[derive(Parser)]
#[command(name = "skimlm-train", about = "Trains models whose anchors carry what their segments say (AnLLM).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a small model from nothing on the task of keys and values.
    Anchors(AnchorArgs),
}

#[derive(Args)]
struct AnchorArgs {
    /// Folder of the checkpoint.
    #[arg(long, default_value = "models/anchors-tiny")]
    out: PathBuf,
    /// Go on where the folder was left.
    #[arg(long)]
    resume: bool,
    /// Updates in all.
    #[arg(long, default_value_t = 3000)]
    steps: u64,
    /// Learning rate at its height.
    #[arg(long, default_value_t = 2e-3)]
    rate: f64,
    /// Seed of weights and data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Width of the model; a multiple of 8.
    #[arg(long, default_value_t = 64)]
    hidden: usize,
    /// Layers of the model.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Width of the MLP.
    #[arg(long, default_value_t = 176)]
    mlp: usize,
    /// Segments of a sequence.
    #[arg(long, default_value_t = 8)]
    segments: usize,
    /// Pairs of a segment.
    #[arg(long, default_value_t = 1)]
    pairs: usize,
    /// Filler words of a segment.
    #[arg(long, default_value_t = 8)]
    fillers: usize,
    /// Sequences of a batch.
    #[arg(long, default_value_t = 64)]
    sequences: usize,
    /// Questions of a sequence.
    #[arg(long, default_value_t = 8)]
    questions: usize,
    /// Share of the steps with full attention.
    #[arg(long, default_value_t = 0.3)]
    full: f32,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Anchors(args) => train_anchors(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{}: {}", error.code.as_str(), error.message));
            ExitCode::FAILURE
        }
    }
}

/// A line for the person at the terminal. Nobody can be told if that fails.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn train_anchors(args: &AnchorArgs) -> Result<()> {
    let level = Level { segments: args.segments, pairs: args.pairs, fillers: args.fillers };
    if args.segments * args.pairs > skimlm_train::words::KEYS {
        let most = format!("at most {} pairs in all", skimlm_train::words::KEYS);
        return Err(Error::invalid_option("pairs", args.segments * args.pairs, most));
    }
    if args.hidden == 0 || !args.hidden.is_multiple_of(8) {
        return Err(Error::invalid_option("hidden", args.hidden, "a multiple of 8"));
    }
    let config = anchors::config(args.hidden, args.layers, args.mlp);
    config.check()?;
    let files = anchors::files(&config)?;
    let net = Net::random(config, args.seed, &Device::Cpu)?;
    let settings = AdamW { beta1: 0.9, beta2: 0.98, eps: 1e-8, decay: 0.05, clip: 1.0 };
    let optimizer = Optimizer::new(settings, net.trained())?;
    let plan = Plan {
        rate: Rate { peak: args.rate, warm: 100, steps: args.steps, fall: 0.3 },
        log_every: 20,
        save_every: 200,
        dtype: DType::F32,
        title: format!("anchors: {} segments, {} pairs, {} fillers each", args.segments, args.pairs, args.fillers),
        files,
    };
    let course = Anchors::new(level, args.sequences, args.questions, args.full, args.seed);
    let run = Run::new(net, optimizer, course, Checkpoint::new(&args.out), plan);
    let mut run = if args.resume { run.resume()? } else { run };
    if drive(&mut run, args.steps)? == End::Done {
        let samples = Sample::held_out(level, args.seed, 512);
        let (with_anchors, full) = anchors::evaluate(&run.net, level, &samples)?;
        say(&format!("held out: {with_anchors:.4} with anchors alone, {full:.4} with full attention"));
    }
    Ok(())
}

/// Trains with a progress bar; Ctrl-C saves and stops.
fn drive<C: Course>(run: &mut Run<C>, steps: u64) -> Result<End> {
    let cancel = Cancel::default();
    let stop = cancel.clone();
    ctrlc::set_handler(move || stop.stop())
        .map_err(|e| Error::new(Code::Internal, format!("Ctrl-C cannot be listened to: {e}")))?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} left {eta} {msg}")
        .map_err(|e| Error::new(Code::Internal, format!("the progress bar cannot be drawn: {e}")))?;
    let bar = ProgressBar::new(steps).with_style(style).with_position(run.optimizer.steps);
    let mut told = |line: &Line| {
        let more: Vec<String> = line.more.iter().map(|(key, value)| format!("{key} {value:.5}")).collect();
        let text = format!("loss {:.4} accuracy {:.3} {}", line.loss, line.accuracy, more.join(" "));
        if bar.is_hidden() {
            say(&format!("step {} {:.0} s {text}", line.step, line.seconds));
        }
        bar.set_message(text);
    };
    let end = run.train(&cancel, &mut told, &mut |step, _| bar.set_position(step))?;
    bar.finish();
    if end == End::Stopped {
        say(&format!("stopped after step {} and saved; go on with --resume", run.optimizer.steps));
    }
    Ok(end)
}
