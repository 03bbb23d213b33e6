//! `inferno inspect <model>`: settings, tensors, parameters, memory at a context length.

use std::process::ExitCode;

use inferno_runtime::device::ComputeDtype;
use inferno_runtime::engine::Report;

use crate::args::InspectArgs;
use crate::model;
use crate::printer::{Printer, bytes, count};

pub(crate) fn run(args: &InspectArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let checkpoint = model::checkpoint(&args.model)?;
    let mut report = Report::of(&checkpoint, args.context.map(|tokens| tokens as usize))?;
    if !args.tensors && args.json {
        report.tensors.clear();
    }
    if args.json {
        printer.json(&report)?;
    } else {
        printer.data(&page(&report, args.tensors))?;
    }
    if report.problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    printer.talk(&format!(
        "This checkpoint does not load: {} problems",
        report.problems.len()
    ));
    report
        .problems
        .iter()
        .for_each(|problem| printer.talk(&format!("  {problem}")));
    Ok(ExitCode::FAILURE)
}

fn page(report: &Report, tensors: bool) -> String {
    let mut text = format!("architecture  {}\n", report.architecture);
    text.push_str(&format!("parameters    {}\n", count(report.parameters)));
    let need = &report.memory;
    text.push_str(&format!("weights       {}\n", bytes(need.weights)));
    text.push_str(&format!(
        "cache         {} at {} tokens\n",
        bytes(need.cache),
        need.context
    ));
    text.push_str(&format!("workspace     {}\n", bytes(need.workspace)));
    text.push_str(&format!(
        "memory        {} in all; on a GPU {}, {} of it cache as {}\n",
        bytes(need.total()),
        bytes(report.gpu_memory.total()),
        bytes(report.gpu_memory.cache),
        ComputeDtype::default(),
    ));
    text.push_str("\nsettings\n");
    for (key, value) in &report.settings {
        text.push_str(&format!("  {key:<32} {value}\n"));
    }
    if tensors {
        let width = report
            .tensors
            .iter()
            .map(|tensor| tensor.name.len())
            .max()
            .unwrap_or(0);
        text.push_str(&format!("\n{} tensors\n", report.tensors.len()));
        for tensor in &report.tensors {
            let shape = format!("{:?}", tensor.shape);
            let dtype = tensor.dtype.as_deref().unwrap_or("missing");
            text.push_str(&format!(
                "  {:<width$}  {shape:<16} {dtype:<6} {:>9}  {}\n",
                tensor.name,
                bytes(tensor.bytes),
                tensor.at
            ));
        }
    }
    text
}
