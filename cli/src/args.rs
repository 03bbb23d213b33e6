//! The command line: what can be asked, apart from what is done about it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use inferno_runtime::chat::harmony::ReasoningEffort;
use inferno_runtime::device::{ComputeDtype, DeviceChoice};
use inferno_runtime::weights::Quant;

/// What scripts rest on, of every command.
const EXIT_CODES: &str = "\
Exit codes:
  0    done (a reader that closes the pipe early is no error)
  1    an error: what is wrong and what to do is on standard error
  2    the command line makes no sense
  130  stopped by Ctrl-C
doctor has its own: 0 all is well, 1 warnings, 2 errors.";

/// Language models whose architecture is a TOML file.
#[derive(Debug, Parser)]
#[command(
    name = "inferno",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true,
    after_long_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Processor threads [default: all cores].
    #[arg(long, global = true, env = "INFERNO_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Chat with a model.
    ///
    /// In a terminal this is a conversation; type /help there. With standard input from a pipe or a file the whole input
    /// is one message, and standard output gets the answer alone.
    Play(PlayArgs),
    /// Answer one prompt and end.
    ///
    /// Standard output gets the answer alone. The prompt is the text given here, then each --file, then standard input
    /// when that is a pipe or a file, with an empty line between the parts and nothing else added; the newline that ends
    /// a file or a pipe is dropped. A prompt `-` is where standard input goes. Nothing is ever cut: a prompt that does not
    /// fit the context is refused with the numbers.
    Run(RunArgs),
    /// Fetch a model from the hub: owner/name, or owner/name:file for one GGUF file.
    ///
    /// Goes on where an earlier download stopped, and checks every file's hash. Only what the model needs is fetched, and a
    /// model that this program could not run is refused before. Models go into the Hugging Face cache, where other programs
    /// find them as well.
    ///
    /// HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, HTTPS_PROXY and NO_PROXY mean what they mean elsewhere.
    Download(DownloadArgs),
    /// List the models on this machine and the architectures this program knows.
    List(ListArgs),
    /// Remove a model from the cache.
    ///
    /// Files that another model of the cache uses stay.
    Rm(RmArgs),
    /// Check the files of a model against their hashes.
    Verify(VerifyArgs),
    /// Show what a model is: its settings, tensors, parameters, and the memory it needs.
    Inspect(InspectArgs),
    /// Measure how well a model predicts a text.
    Perplexity(PerplexityArgs),
    /// Measure prefill, decode, time to the first token and memory.
    Bench(BenchArgs),
    /// Check this machine, this program and the installed models, and say what to do.
    ///
    /// Exit code 0: all is well, 1: warnings, 2: errors.
    Doctor(DoctorArgs),
    /// Print the Rust code that an architecture's spec becomes.
    Expand(ExpandArgs),
    /// Work on model specs.
    #[command(subcommand)]
    Spec(SpecCommand),
    /// Print a script that completes inferno's commands and flags in a shell.
    ///
    /// bash: inferno completions bash > ~/.local/share/bash-completion/completions/inferno
    ///
    /// zsh: inferno completions zsh > ~/.zfunc/_inferno
    ///
    /// fish: inferno completions fish > ~/.config/fish/completions/inferno.fish
    #[command(verbatim_doc_comment)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands to a folder.
    Man(ManArgs),
}

/// Which model to open, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Model: owner/name of an installed one, a folder with config.json and *.safetensors, a .gguf file, or `ember` or
    /// `ember-oss` for the small ones inside this program.
    #[arg(short, long, value_name = "MODEL", env = "INFERNO_MODEL")]
    pub(crate) model: Option<String>,

    /// Longest conversation in tokens [default: what the model was made for, at most 8192].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Where a model computes.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Device: auto (a GPU where this program and the machine have one that the model fits), cpu, cuda or cuda:N.
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "auto",
        env = "INFERNO_DEVICE"
    )]
    pub(crate) device: DeviceChoice,

    /// Type of keys, values and tensor-core operands on a GPU: auto, bf16, f16, or f32 for exact results.
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub(crate) dtype: ComputeDtype,

    /// Most memory that weights, cache and workspace may take, such as 16GiB; a model that needs more is refused.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_hyphen_values = true)]
    pub(crate) memory_limit: Option<u64>,
}

/// `16GiB`, `500MB`, `1024`.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err(format!("{number} is not above 0"))
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = unit.map_or((text, 1), |(unit, factor)| {
        (&text[..text.len() - unit.len()], *factor)
    });
    let number: Option<f64> = number.trim().parse().ok();
    match number.map(|number| number * factor as f64) {
        Some(bytes) if (1.0..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!(
            "`{text}` is no amount of memory such as 16GiB or 500MB"
        )),
    }
}

/// How the next token is chosen. Defaults come from the model's generation_config.json.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Randomness; 0 always takes the likeliest token.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,

    /// Choose among the K likeliest tokens; 0 or -1: all.
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) top_k: Option<i64>,

    /// Choose among the likeliest tokens that together reach probability P; 0 always takes the likeliest.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,

    /// Drop tokens less likely than P times the likeliest.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,

    /// Divide the logits of tokens already seen by R.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,

    /// Subtract A from the logits of tokens already written.
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f32>,

    /// Subtract A for each time a token was already written.
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f32>,

    /// Seed of the random choice: the same seed gives the same answer.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,

    /// End the answer at this text (may be given several times).
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,

    /// Longest answer in tokens.
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
}

/// How an answer is asked for and shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnswerArgs {
    /// System message: who the model is to be.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// Continue the text as it is: no chat template, no roles.
    #[arg(long)]
    pub(crate) raw: bool,

    /// Print each answer as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// With --json: log probabilities of the N likeliest tokens at each position (0: of the chosen token alone).
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) logprobs: Option<u32>,

    /// What to do with the reasoning of models that think before they answer: it goes to standard error, the answer alone
    /// to standard output. --json has both.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ReasoningShown::Show)]
    pub(crate) reasoning: ReasoningShown,

    /// How much the model thinks; for models that can be told, such as gpt-oss [default: medium].
    #[arg(long, value_name = "EFFORT", value_enum)]
    pub(crate) reasoning_effort: Option<Effort>,

    /// Functions that the model may call: a JSON list as in OpenAI's API. You type the result of a call; through a pipe it
    /// needs --json.
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DownloadArgs {
    /// Model: owner/name, with @revision for a branch, tag or commit, with :file or :Q4_K_M for one GGUF model of several.
    pub(crate) model: String,

    /// Fetch it even though this program could not run it.
    #[arg(long)]
    pub(crate) force: bool,

    /// Use no network: only say whether the model is here.
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print events, one line of JSON each.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Model: owner/name, with @revision for one revision, with :file or :Q4_K_M for one GGUF model of several.
    pub(crate) model: String,

    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Model: owner/name.
    #[arg(required_unless_present = "all")]
    pub(crate) model: Option<String>,

    /// Check every model of the cache.
    #[arg(long, conflicts_with = "model")]
    pub(crate) all: bool,

    /// Compare with what the hub lists, too.
    #[arg(long)]
    pub(crate) online: bool,

    /// Remove what is damaged, so that `inferno download` fetches it anew.
    #[arg(long)]
    pub(crate) repair: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReasoningShown {
    /// Show it, dimmed.
    Show,
    /// Say in a line how long it was.
    Fold,
    /// Say nothing of it.
    Hide,
}

/// How much a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effort {
    Low,
    Medium,
    High,
}

impl From<Effort> for ReasoningEffort {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Low => Self::Low,
            Effort::Medium => Self::Medium,
            Effort::High => Self::High,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What to answer; `-`: standard input.
    pub(crate) prompt: Option<OsString>,

    /// Text file (UTF-8) that goes behind the prompt (may be given several times).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Model: owner/name of an installed one, a folder, a .gguf file, or `ember` or `ember-oss`.
    pub(crate) model: String,

    /// Context length, in tokens, for which memory is estimated [default: what the model was made for].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,

    /// List every tensor.
    #[arg(long)]
    pub(crate) tensors: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PerplexityArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Text file (UTF-8).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Tokens scored together; each window starts afresh, and its second half counts [default: 512].
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    pub(crate) window: u32,

    /// Compute with f32 activations throughout instead of the fast 8-bit ones.
    #[arg(long)]
    pub(crate) exact: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Model: owner/name of an installed one, a folder, a .gguf file, or `ember` or `ember-oss` [default: ember].
    #[arg(short, long, value_name = "MODEL", conflicts_with = "random")]
    pub(crate) model: Option<String>,

    /// Random weights of the shape that this config.json asks for, with any architecture known here.
    #[arg(long, value_name = "CONFIG.JSON")]
    pub(crate) random: Option<PathBuf>,

    /// Seed of the random weights.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "random")]
    pub(crate) seed: u64,

    /// Type of the random matrices: bf16, q8_0 or q4_k_m. Vectors are f32; experts that config.json has in MXFP4 stay so.
    /// q4_k_m is llama.cpp's mixture: the head, and in half of the layers values and down projections, in Q6_K, the rest
    /// in Q4_K.
    #[arg(long, value_name = "TYPE", default_value_t = Quant::Bf16, requires = "random")]
    pub(crate) quant: Quant,

    /// Tokens of the prompt.
    #[arg(short, long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) prompt: u32,

    /// Tokens written after it.
    #[arg(short = 'n', long, value_name = "TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) decode: u32,

    /// Bandwidth of memory that decoding is compared with, instead of the one measured on the GPU.
    #[arg(long, value_name = "GB/S", value_parser = positive)]
    pub(crate) bandwidth: Option<f64>,

    /// Rounds; the one with the fastest decode is reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,

    /// Compute with f32 activations throughout instead of the fast 8-bit ones.
    #[arg(long)]
    pub(crate) exact: bool,

    #[command(flatten)]
    pub(crate) device: DeviceArgs,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Also read every installed file and compare its hash, which takes as long as reading them.
    #[arg(long)]
    pub(crate) deep: bool,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder that gets inferno.1, inferno-run.1 and so on; it is made if need be.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExpandArgs {
    /// Architecture (`inferno list` names them), or the path of a spec file.
    pub(crate) architecture: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Report every mistake in a spec file, without a compiler run.
    Check(SpecCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SpecCheckArgs {
    /// Spec file. It may extend the specs beside it and those inside this program.
    pub(crate) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// `UPDATE_DOCS=1 cargo nextest run -p inferno-cli reference` writes it anew.
    #[test]
    fn the_reference_in_the_docs_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let options = clap_markdown::MarkdownOptions::new()
            .title("The command `inferno`".into())
            .show_footer(false);
        let text = clap_markdown::help_markdown_custom::<Cli>(&options);
        let text = format!(
            "<!-- Written by a test from cli/src/args.rs: UPDATE_DOCS=1 cargo nextest run -p inferno-cli reference -->\n\n{}\n",
            text.trim()
        );
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &text).unwrap();
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == text,
            "docs/cli.md is not what the command line is now: see its first line"
        );
    }
}
