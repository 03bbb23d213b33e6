//! The command `inferno`.

mod args;
mod commands;
mod gpu_memory;
mod interrupt;
mod model;
mod printer;
mod text;

use std::io;
use std::process::ExitCode;

use args::{Cli, Command, SpecCommand};
use clap::Parser;
use printer::Printer;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new();
    log_to_stderr(&printer);
    if let Some(threads) = cli.threads {
        inferno_runtime::cpu::set_threads(usize::from(threads));
    }
    match run(&cli.command, &printer) {
        Ok(code) => code,
        // Who reads our output has seen enough: `inferno list | head -1` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            interrupt::exit_code(&error).unwrap_or(ExitCode::FAILURE)
        }
    }
}

fn run(command: &Command, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        Command::Play(args) => commands::play::run(args, printer),
        Command::Run(args) => commands::run::run(args, printer),
        Command::Download(args) => commands::download::run(args, printer),
        Command::List(args) => commands::list::run(args, printer),
        Command::Inspect(args) => commands::inspect::run(args, printer),
        Command::Rm(args) => commands::rm::run(args, printer),
        Command::Verify(args) => commands::verify::run(args, printer),
        Command::Perplexity(args) => commands::perplexity::run(args, printer),
        Command::Bench(args) => commands::bench::run(args, printer),
        Command::Doctor(args) => commands::doctor::run(args, printer),
        Command::Expand(args) => commands::expand::run(args, printer),
        Command::Spec(SpecCommand::Check(args)) => commands::spec::check(args, printer),
        Command::Completions(args) => commands::completions::run(args, printer),
        Command::Man(args) => commands::man::run(args, printer),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `INFERNO_LOG=debug` shows what the engine does; without it only warnings are shown.
fn log_to_stderr(printer: &Printer) {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .with_env_var("INFERNO_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(printer.colours())
        .without_time()
        .init();
}
