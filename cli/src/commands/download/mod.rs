//! `inferno download <owner/name>`: fetches a model.

mod display;

use std::process::ExitCode;

use inferno_runtime::hub::{
    self, DownloadPlan, Downloaded, Event, Hub, HubError, ModelName, PlanOptions, Settings,
};
use inferno_runtime::machine;
use serde_json::json;

use self::display::Display;
use crate::args::DownloadArgs;
use crate::interrupt::Interruptible;
use crate::printer::{Printer, bytes};

pub(crate) fn run(args: &DownloadArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let done = match fetch(args, printer) {
        Ok(done) => done,
        Err(error) => {
            if args.json {
                printer.json(&json!({"event": "error", "message": error.to_string()}))?;
            }
            return Err(error);
        }
    };
    // As an event the end has been told.
    if !args.json {
        printer.line(&done.path.display().to_string())?;
        printer.talk(&format!("Chat with it: inferno play --model {}", done.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches a model, with everything that a person or a program sees of it.
pub(crate) fn fetch(args: &DownloadArgs, printer: &Printer) -> anyhow::Result<Downloaded> {
    let name: ModelName = args.model.parse()?;
    let mut settings = Settings::from_env()?;
    settings.offline |= args.offline;
    let display = Display::new(printer, args.json);
    if settings.offline {
        return Ok(already_here(&name, &args.model, &display)?);
    }
    let work = Interruptible::new()?;
    let hub = Hub::new(settings)?;
    let options = PlanOptions { force: args.force };
    let listener = |event: &Event| display.show(event);
    let plan = hub.plan(&name, options, &listener, &work.cancel)?;
    warn(&plan, printer);
    let done = hub.download(&plan, &listener, &work.cancel);
    display.end();
    Ok(done?)
}

/// Weights that this machine's memory does not hold are fetched all the same: they may be meant for another one.
fn warn(plan: &DownloadPlan, printer: &Printer) {
    if let Some(memory) = machine::memory()
        && plan.weight_bytes() > memory.total
    {
        printer.warning(&format!(
            "the weights have {}, and this machine has {} of memory",
            bytes(plan.weight_bytes()),
            bytes(memory.total)
        ));
    }
    if plan.architecture.is_none() {
        printer.warning("this program will not run it (--force)");
    }
}

fn already_here(name: &ModelName, text: &str, display: &Display) -> Result<Downloaded, HubError> {
    let offline = |_| HubError::Offline {
        name: name.to_string(),
    };
    let done = Downloaded {
        name: name.to_string(),
        path: hub::resolve(text).map_err(offline)?,
        fetched: 0,
    };
    display.show(&done.event());
    Ok(done)
}
