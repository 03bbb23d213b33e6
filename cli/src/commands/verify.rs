//! `inferno verify <model>`: checks files against their hashes.

use std::process::ExitCode;

use anyhow::bail;
use inferno_runtime::hub::{
    self, Cancel, Event, Hub, HubError, InstalledRepository, ModelName, Verification,
};

use crate::args::VerifyArgs;
use crate::interrupt::Interruptible;
use crate::printer::{Printer, bytes};

pub(crate) fn run(args: &VerifyArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let repositories = chosen(args)?;
    let work = Interruptible::new()?;
    let hub = if args.online {
        Some(Hub::from_env()?)
    } else {
        None
    };
    let mut results = Vec::new();
    for repository in &repositories {
        let result = check(repository, hub.as_ref(), &work.cancel, printer)?;
        if !args.json {
            printer.data(&page(&result))?;
        }
        if args.repair {
            let count = hub::remove_damaged(&result)?;
            if count > 0 {
                printer.talk(&format!(
                    "{count} damaged files removed; `inferno download {}` fetches them anew",
                    result.name
                ));
            }
        }
        results.push(result);
    }
    if args.json {
        printer.json(&results)?;
    } else if results.is_empty() {
        printer.talk("There are no models in the cache.");
    }
    let sound = results.iter().all(|result| result.findings.is_empty());
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(args: &VerifyArgs) -> anyhow::Result<Vec<InstalledRepository>> {
    let all = hub::repositories();
    let Some(name) = &args.model else {
        return Ok(all);
    };
    // What a file or a revision belongs to is checked as a whole.
    let repository = match name.parse::<ModelName>() {
        Ok(name) => name.repo.to_string(),
        Err(_) => name.clone(),
    };
    match all.into_iter().find(|known| known.name == repository) {
        Some(found) => Ok(vec![found]),
        None => {
            // Says which of the many reasons it is, and what to do.
            let path = hub::resolve(name)?;
            bail!(
                "{} is no model of the cache, and only those have hashes to check\nhint: `inferno inspect` reads it whole",
                path.display()
            )
        }
    }
}

fn check(
    repository: &InstalledRepository,
    hub: Option<&Hub>,
    cancel: &Cancel,
    printer: &Printer,
) -> Result<Verification, HubError> {
    let bar = printer.bar(0);
    let progress = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let result = hub::verify(repository, &progress, cancel);
    bar.finish_and_clear();
    let mut result = result?;
    if let Some(hub) = hub {
        let listener = |event: &Event| {
            if let Event::Retrying { what, reason, .. } = event {
                printer.talk(&format!("{what}: {reason}; trying again"));
            }
        };
        let more = hub.compare(repository, &listener, cancel)?;
        result.unchecked = 0;
        result.findings.extend(more);
    }
    Ok(result)
}

fn page(result: &Verification) -> String {
    let files = |count: usize| format!("{count} file{}", if count == 1 { "" } else { "s" });
    let mut text = format!(
        "{}: {} checked, {}",
        result.name,
        files(result.files),
        bytes(result.bytes)
    );
    if result.unchecked > 0 {
        let copies = files(result.unchecked);
        text.push_str(&format!(", {copies} not: `--online` compares with the hub"));
    }
    match result.findings.len() {
        0 => text.push_str("; sound\n"),
        1 => text.push_str("; 1 problem\n"),
        many => text.push_str(&format!("; {many} problems\n")),
    }
    for finding in &result.findings {
        text.push_str(&format!(
            "  {}: {}\n    hint: {}\n",
            finding.file, finding.problem, finding.hint
        ));
    }
    text
}
