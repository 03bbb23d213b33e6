//! docs/first-hour.md does what it says: every command in it is run, and its output compared.
//!
//! `UPDATE_DOCS=1 cargo nextest run -p inferno-cli first_hour` records the outputs anew.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inferno_hub_server::HubServer;

/// What the walk-through calls the hub.
const HUB: &str = "https://huggingface.co";
/// Lines of `doctor` that are about the machine: their words differ from one to the next.
const MACHINE: [&str; 5] = ["system", "cpu", "memory", "cache", "gpu"];

struct Desk {
    home: PathBuf,
    hub: HubServer,
}

impl Desk {
    fn new(home: &Path) -> Self {
        let ember = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/default-model.gguf");
        let hub = HubServer::start();
        hub.add(
            "acme/ember-GGUF",
            &[("ember-Q8_0.gguf", fs::read(ember).unwrap())],
        );
        Self {
            home: home.to_path_buf(),
            hub,
        }
    }

    /// What a terminal would show, with the home folder and the hub called as everywhere.
    fn run(&self, command: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_inferno"));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(&self.home)
            .env_clear()
            .env(
                "PATH",
                format!("{}:{path}", program.parent().unwrap().display()),
            )
            .env("HOME", &self.home)
            .env("HF_ENDPOINT", &self.hub.url)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .replace(self.home.to_str().unwrap(), "~")
            .replace(&self.hub.url, HUB)
    }
}

/// Numbers are `#`, and what belongs to this machine, this model's mood or this clock is left out.
fn comparable(command: &str, output: &str) -> String {
    let mut text = String::new();
    let progress = |line: &&str| {
        line.split_whitespace()
            .next()
            .is_some_and(|word| word.ends_with('%'))
    };
    let mut about_machine = false;
    for line in output.lines().filter(|line| !progress(line)) {
        let line = without_device(line);
        if line.is_empty() || (about_machine && line.trim_start().starts_with("hint:")) {
            continue;
        }
        let mut words = line.split_whitespace();
        let about = (words.next(), words.next());
        about_machine = matches!(about, (Some("ok" | "note" | "warning" | "error"), Some(topic)) if MACHINE.contains(&topic));
        let line = match about {
            (_, Some(topic)) if about_machine => topic.to_string(),
            _ if command.contains("--json") => shape(&line),
            _ if command.contains(" run 'Tell")
                && !line.contains(':')
                && !line.starts_with("ember is") =>
            {
                "(answer)".into()
            }
            _ => line.to_string(),
        };
        text.push_str(&without_numbers(&line));
        text.push('\n');
    }
    text
}

/// A line without the name of the device, which is another one elsewhere; empty if it is about that alone.
fn without_device(line: &str) -> String {
    let device = |line: &str| {
        let trimmed = line.trim_start();
        ["on cuda:", "device ", "GPU memory "]
            .iter()
            .any(|start| trimmed.starts_with(start))
    };
    // How many warnings there are depends on the machine.
    let totals = line.contains(" error")
        && line.trim_end().ends_with(['g', 's'])
        && line.contains(" warning");
    if device(line) || (totals && line.starts_with(|c: char| c.is_ascii_digit())) {
        return String::new();
    }
    let mut line = line.to_string();
    for (start, end) in [
        (", on c", ", loaded"),
        ("device: \"", "\""),
        ("; on cuda:", "\n"),
        ("inferno ", " architectures"),
    ] {
        let Some(at) = line.find(start).map(|at| at + start.len()) else {
            continue;
        };
        match line[at..].find(end) {
            Some(length) => line.replace_range(at..at + length, ""),
            None if end == "\n" => line.truncate(at - start.len()),
            None => {}
        }
    }
    line
}

/// The keys of a line of JSON.
fn shape(line: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(serde_json::Value::Object(object)) => {
            object.keys().cloned().collect::<Vec<_>>().join(" ")
        }
        _ => line.to_string(),
    }
}

/// `12.5 MB` and `1.2 GB` are both `# _B`; columns do not count.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for word in line.split_whitespace() {
        let mut digits = false;
        for c in word.chars() {
            let number = c.is_ascii_digit() || (digits && matches!(c, '.' | ','));
            if number && !digits {
                out.push('#');
            } else if !number {
                out.push(c);
            }
            digits = number;
        }
        out.push(' ');
    }
    for unit in ["kB", "MB", "GB", "TB"] {
        out = out.replace(&format!("# {unit}"), "# _B");
    }
    out.trim_end().to_string()
}

#[test]
fn every_command_of_the_walk_through_gives_what_it_shows() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/first-hour.md");
    let page = fs::read_to_string(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::new(&folder.path().canonicalize().unwrap());
    let mut recorded = String::new();
    let mut wrong = Vec::new();
    let (mut console, mut commands) = (false, 0);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        recorded.push_str(line);
        recorded.push('\n');
        if line.starts_with("```") {
            console = line == "```console";
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| console) else {
            continue;
        };
        commands += 1;
        let mut shown = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && *line != "```") {
            shown.push_str(line);
            shown.push('\n');
        }
        let output = desk.run(command);
        let (got, want) = (comparable(command, &output), comparable(command, &shown));
        if got != want {
            wrong.push(format!(
                "$ {command}\nshown:\n{shown}\ngiven:\n{output}\ncompared:\n{want}\nwith:\n{got}"
            ));
        }
        recorded.push_str(&output);
        if !output.is_empty() && !output.ends_with('\n') {
            recorded.push('\n');
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, recorded).unwrap();
        return;
    }
    assert!(commands > 15, "the page has {commands} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
