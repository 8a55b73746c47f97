//! `skimlm-train`: see `skimlm-train help`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::DType;
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
use skimlm_train::source::Origin;
use skimlm_train::task::{Level, Sample, at_least_one};
use skimlm_train::text::{self, Mask, Text};

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
    /// Go on training a model on plain text with the anchor mask.
    Continue(ContinueArgs),
    /// Print a model's loss on plain text under the anchor mask beside that of full attention.
    Evaluate(EvaluateArgs),
}

/// A model and a text.
#[derive(Args)]
struct TextArgs {
    /// GGUF file or safetensors folder.
    #[arg(long)]
    model: PathBuf,
    /// Plain text files.
    #[arg(long, required = true, num_args = 1..)]
    text: Vec<PathBuf>,
    /// What the anchors are: `sentence`, or the text of a token.
    #[arg(long, default_value = "sentence")]
    anchors: String,
    /// Tokens of a window.
    #[arg(long, default_value_t = 256)]
    context: usize,
}

#[derive(Args)]
struct EvaluateArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Windows to measure.
    #[arg(long, default_value_t = 16)]
    windows: usize,
    /// First tokens that stay visible in the third column.
    #[arg(long, default_value_t = 4)]
    sinks: usize,
}

#[derive(Args)]
struct ContinueArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Folder of the checkpoint.
    #[arg(long)]
    out: PathBuf,
    /// Text to measure on; without it, the last tenth of the text.
    #[arg(long, num_args = 1..)]
    held_out: Vec<PathBuf>,
    /// Rank of the adapters; 0 trains all weights.
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// Go on where the folder was left.
    #[arg(long)]
    resume: bool,
    /// Updates in all.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Learning rate.
    #[arg(long, default_value_t = 5e-4)]
    rate: f64,
    /// Windows of a batch.
    #[arg(long, default_value_t = 1)]
    sequences: usize,
    /// Share of the steps with full attention.
    #[arg(long, default_value_t = 0.0)]
    full: f32,
    /// Updates between measurements on the held-out text.
    #[arg(long, default_value_t = 20)]
    measure_every: u64,
    /// Updates between saves.
    #[arg(long, default_value_t = 100)]
    save_every: u64,
    /// Seed of adapters and windows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    #[arg(long, default_value_t = 2400)]
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
        Command::Continue(args) => go_on(&args),
        Command::Evaluate(args) => evaluate(&args),
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
    let course = Anchors::new(level, args.sequences, args.questions, args.full, args.seed)?;
    if args.hidden == 0 || !args.hidden.is_multiple_of(8) {
        return Err(Error::invalid_option("hidden", args.hidden, "a multiple of 8"));
    }
    let config = anchors::config(args.hidden, args.layers, args.mlp)?;
    let files = anchors::files(&config)?;
    let net = Net::random(config, args.seed)?;
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
    let run = Run::new(net, optimizer, course, Checkpoint::new(&args.out), plan);
    let mut run = if args.resume { run.resume()? } else { run };
    if drive(&mut run, args.steps)? == End::Done {
        let samples = Sample::held_out(level, args.seed, 512);
        let (with_anchors, full) = anchors::evaluate(&run.net, level, &samples)?;
        say(&format!("held out: {with_anchors:.4} with anchors alone, {full:.4} with full attention"));
    }
    Ok(())
}

fn go_on(args: &ContinueArgs) -> Result<()> {
    at_least_one("sequences", args.sequences)?;
    let origin = Origin::open(&args.text.model)?;
    let anchors = origin.anchors(&args.text.anchors)?;
    let tokens = origin.tokens(&args.text.text)?;
    let held_out = if args.held_out.is_empty() { None } else { Some(origin.tokens(&args.held_out)?) };
    let mut course = Text::new(tokens, held_out, anchors, args.text.context)?;
    (course.sequences, course.full, course.seed) = (args.sequences, args.full, args.seed);
    let mut net = origin.net(args.rank == 0)?;
    if args.rank > 0 {
        net.adapt(args.rank, args.seed)?;
    }
    let settings = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.0, clip: 1.0 };
    let optimizer = Optimizer::new(settings, net.trained())?;
    let plan = Plan {
        rate: Rate { peak: args.rate, warm: 20, steps: args.steps, fall: 0.0 },
        log_every: args.measure_every,
        save_every: args.save_every,
        dtype: DType::F16,
        title: "loss under the anchor mask".into(),
        files: origin.files(&net)?,
    };
    let run = Run::new(net, optimizer, course, Checkpoint::new(&args.out), plan);
    let mut run = if args.resume { run.resume()? } else { run };
    drive(&mut run, args.steps).map(|_| ())
}

fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let origin = Origin::open(&args.text.model)?;
    let anchors = origin.anchors(&args.text.anchors)?;
    let tokens = origin.tokens(&args.text.text)?;
    text::check("text", &tokens, args.text.context)?;
    let net = origin.net(false)?;
    let windows = text::spread(&tokens, args.text.context + 1, args.windows);
    let ends = windows.iter().flat_map(|w| &w[..args.text.context]).filter(|id| anchors.contains(id)).count();
    let share = ends as f64 / (windows.len() * args.text.context) as f64;
    say(&format!("{} windows of {} tokens, {:.1} % of them anchors", windows.len(), args.text.context, 100.0 * share));
    let sinks = args.sinks;
    let rows = [
        ("full attention", Mask::Full),
        ("anchors", Mask::Anchors { sinks: 0 }),
        (&*format!("anchors and {sinks} first tokens"), Mask::Anchors { sinks }),
    ];
    for (name, mask) in rows {
        say(&format!("{name:<30} loss {:.4}", text::loss(&net, &windows, &anchors, mask)?));
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
        let more: Vec<String> = line.more.iter().map(|(key, value)| format!("{key} {value}")).collect();
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
