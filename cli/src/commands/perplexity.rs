//! `inferno perplexity`: how well a model predicts a text.

use std::process::ExitCode;

use anyhow::Context as _;
use inferno_runtime::cpu::Precision;

use crate::args::PerplexityArgs;
use crate::model::{self, EMBEDDED};
use crate::printer::Printer;

pub(crate) fn run(args: &PerplexityArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {} as UTF-8 text", args.file.display()))?;
    let name = args.model.model.as_deref().unwrap_or(EMBEDDED);
    let precision = if args.exact {
        Precision::Exact
    } else {
        Precision::Fast
    };
    let mut engine = model::load(name, &args.model, precision, printer)?;
    let tokens = engine.encode(&text)?;
    let window = args.window as usize;
    let windows = tokens.len() / window;
    let result = engine.perplexity(&tokens, window, &mut |done, so_far| {
        printer.aside(&format!("window {done}/{windows}: perplexity {so_far:.4}"));
    })?;
    if args.json {
        printer.json(&result)?;
    } else {
        let error = result.perplexity * result.standard_error;
        printer.line(&format!(
            "perplexity {:.4} ± {error:.4} ({:.5} nats/token over {} tokens in {} windows of {window})",
            result.perplexity, result.nats_per_token, result.scored_tokens, result.windows
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
