//! Getting, listing, checking and removing models as a person or a script does: against a hub on this machine, with
//! processes that are really killed.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use inferno_hub_server::{Fault, HubServer, noise, sha256, tiny_llama};

const WEIGHTS: usize = 1_000_000;
const MODEL: &str = "model.safetensors";

struct Home {
    server: HubServer,
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let server = HubServer::start();
        server.add("acme/tiny", &tiny_llama(WEIGHTS));
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// `inferno` with this hub and cache, and nothing of the person who runs the tests.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.starts_with("hf_") || text.ends_with("_proxy") || text.starts_with("inferno_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("HF_HOME", self.folder.path())
            .env("HF_ENDPOINT", &self.server.url)
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "2")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("hub/models--acme--tiny")
    }

    fn blob(&self, end: &str) -> PathBuf {
        let hash = sha256(&noise(WEIGHTS, 2));
        self.repository().join("blobs").join(format!("{hash}{end}"))
    }

    fn part_len(&self) -> u64 {
        std::fs::metadata(self.blob(".incomplete")).map_or(0, |meta| meta.len())
    }

    fn wait_for_part(&self, bytes: u64) {
        let start = Instant::now();
        while self.part_len() < bytes {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the download does not begin"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn assert_whole(&self) {
        assert_eq!(std::fs::read(self.blob("")).unwrap(), noise(WEIGHTS, 2));
        assert!(!self.blob(".incomplete").exists());
    }

    /// A model that loads, from the golden files.
    fn add_real_model(&self) {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/llama-9-heads-3-kv");
        let read = |name: &str| std::fs::read(golden.join(name)).unwrap();
        let files = [
            ("config.json", read("config.json")),
            ("tokenizer.json", b"{}".to_vec()),
            (MODEL, read(MODEL)),
        ];
        self.server.add("acme/real", &files);
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn events(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

#[test]
fn download_says_what_comes_and_how_to_use_it() {
    let home = Home::new();
    let ran = home.run(&["download", "acme/tiny"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    home.assert_whole();
    // Standard output is data: the path alone.
    assert!(
        Path::new(ran.stdout.trim_end()).join(MODEL).is_file(),
        "{ran:?}"
    );
    for words in [
        "acme/tiny: llama, 5 files, 1.2 MB",
        "100%",
        "complete and verified",
        "inferno play --model acme/tiny",
    ] {
        assert!(
            ran.stderr.contains(words),
            "{words} is not in {}",
            ran.stderr
        );
    }
    let again = home.run(&["download", "acme/tiny"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(0), ran.stdout.as_str())
    );
    assert!(again.stderr.contains("all of it here"), "{again:?}");
}

#[test]
fn json_events_are_one_object_a_line_and_progress_never_goes_back() {
    let home = Home::new();
    home.server.fault(MODEL, Fault::Drop(400_000));
    home.server.fault(MODEL, Fault::NoRange);
    home.server.throttle(50_000, Duration::from_millis(30));
    let ran = home.run(&["download", "acme/tiny", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let events = ran.events();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(
        (named("planned"), named("complete"), named("finished")),
        (1, 1, 5)
    );
    assert_eq!((named("retrying"), named("restarted")), (1, 1));
    let done: Vec<u64> = events
        .iter()
        .filter_map(|event| event["done"].as_u64())
        .collect();
    assert!(done.len() > 3 && done.is_sorted(), "{done:?}");
    assert_eq!(events[0]["event"], "planned");
    assert_eq!(events.last().unwrap()["model"], "acme/tiny");
}

#[test]
fn json_errors_are_events_too() {
    let home = Home::new();
    let ran = home.run(&["download", "acme/missing", "--json"]);
    assert_eq!(ran.code, Some(1));
    let events = ran.events();
    assert_eq!(events[0]["event"], "error");
    assert!(
        events[0]["message"]
            .as_str()
            .unwrap()
            .contains("acme/missing")
    );
}

#[test]
fn a_killed_download_is_continued_where_it_was() {
    let home = Home::new();
    home.server.throttle(10_000, Duration::from_millis(10));
    // Killed twice: what was continued once is continued again.
    for bytes in [200_000, 500_000] {
        let mut child = home.command(&["download", "acme/tiny"]).spawn().unwrap();
        home.wait_for_part(bytes);
        // SIGKILL on Unix: no code of ours runs any more.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!home.blob("").exists());
        assert!(home.part_len() >= bytes);
        let listed = home.run(&["list"]);
        assert!(listed.stdout.contains("incomplete"), "{listed:?}");
        assert!(
            listed.stdout.contains("`inferno download acme/tiny`"),
            "{listed:?}"
        );
    }
    let left = home.part_len();
    home.server.heal();
    let before = home.server.sent();
    let ran = home.run(&["download", "acme/tiny"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    home.assert_whole();
    assert_eq!(home.server.sent() - before, WEIGHTS as u64 - left);
    let ranges: Vec<_> = home
        .server
        .fetches(MODEL)
        .into_iter()
        .map(|seen| seen.range)
        .collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[2], Some(format!("bytes={left}-{}", WEIGHTS - 1)));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_download_in_order_and_leaves_what_can_be_continued() {
    let home = Home::new();
    home.server.always(MODEL, Fault::Stall(300_000));
    let mut command = home.command(&["download", "acme/tiny"]);
    let child = command
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "60")
        .spawn()
        .unwrap();
    home.wait_for_part(300_000);
    let start = Instant::now();
    interrupt(&child);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(ran.stderr.contains("the same command goes on"), "{ran:?}");
    home.server.heal();
    let before = home.server.sent();
    assert_eq!(home.run(&["download", "acme/tiny"]).code, Some(0));
    home.assert_whole();
    assert_eq!(home.server.sent() - before, WEIGHTS as u64 - 300_000);
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status()
        .unwrap();
    assert!(killed.success());
}

#[test]
fn two_processes_wait_on_each_other_and_both_end_well() {
    let home = Home::new();
    home.server.throttle(20_000, Duration::from_millis(20));
    let first = home.command(&["download", "acme/tiny"]).spawn().unwrap();
    home.wait_for_part(100_000);
    let second = home.run(&["download", "acme/tiny"]);
    let first = Ran::of(first.wait_with_output().unwrap());
    assert_eq!(
        (first.code, second.code),
        (Some(0), Some(0)),
        "{first:?} {second:?}"
    );
    assert!(
        second.stderr.contains("another process fetches it"),
        "{second:?}"
    );
    assert_eq!(home.server.fetches(MODEL).len(), 1);
    home.assert_whole();
}

#[test]
fn the_lock_of_a_killed_process_does_not_stay() {
    let home = Home::new();
    home.server.throttle(10_000, Duration::from_millis(20));
    let mut first = home.command(&["download", "acme/tiny"]).spawn().unwrap();
    home.wait_for_part(100_000);
    let mut second = home.command(&["download", "acme/tiny"]).spawn().unwrap();
    // It says so when it waits.
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("another process fetches it")));
    first.kill().unwrap();
    first.wait().unwrap();
    home.server.heal();
    // Whatever else it says must not fill the pipe.
    let rest = std::thread::spawn(move || lines.count());
    assert!(second.wait().unwrap().success());
    rest.join().unwrap();
    home.assert_whole();
}

#[test]
fn rm_asks_refuses_while_a_download_runs_and_frees() {
    let home = Home::new();
    home.server.throttle(20_000, Duration::from_millis(20));
    let child = home.command(&["download", "acme/tiny"]).spawn().unwrap();
    home.wait_for_part(100_000);
    let busy = home.run(&["rm", "acme/tiny", "--yes"]);
    assert_eq!(busy.code, Some(1));
    assert!(busy.stderr.contains("being downloaded"), "{busy:?}");
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, Some(0));
    let unasked = home.run(&["rm", "acme/tiny"]);
    assert_eq!(unasked.code, Some(1));
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    home.assert_whole();
    let removed = home.run(&["rm", "acme/tiny", "--yes", "--json"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let removed: serde_json::Value = serde_json::from_str(&removed.stdout).unwrap();
    assert!(removed["bytes"].as_u64().unwrap() > WEIGHTS as u64);
    assert!(!home.repository().exists());
    assert_eq!(home.run(&["rm", "acme/tiny", "--yes"]).code, Some(1));
    assert_eq!(home.run(&["rm", "../../etc", "--yes"]).code, Some(1));
}

#[test]
fn verify_finds_damage_and_repair_makes_room_for_a_download() {
    let home = Home::new();
    assert_eq!(home.run(&["verify", "--all"]).code, Some(0));
    home.run(&["download", "acme/tiny"]);
    let sound = home.run(&["verify", "acme/tiny", "--online"]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(
        sound.stdout.contains("5 files checked") && sound.stdout.contains("sound"),
        "{sound:?}"
    );
    let mut bytes = noise(WEIGHTS, 2);
    bytes[77] ^= 1;
    std::fs::write(home.blob(""), bytes).unwrap();
    let damaged = home.run(&["verify", "--all"]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert!(
        damaged
            .stdout
            .contains("model.safetensors: its content has the hash"),
        "{damaged:?}"
    );
    assert!(
        damaged
            .stdout
            .contains("hint: `inferno verify acme/tiny --repair`"),
        "{damaged:?}"
    );
    let json = home.run(&["verify", "acme/tiny", "--json", "--repair"]);
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json[0]["findings"].as_array().unwrap().len(), 1);
    let gone = home.run(&["verify", "acme/tiny"]);
    assert!(gone.stdout.contains("leads nowhere"), "{gone:?}");
    assert_eq!(home.run(&["download", "acme/tiny"]).code, Some(0));
    assert_eq!(home.run(&["verify", "acme/tiny"]).code, Some(0));
}

#[test]
fn list_says_size_architecture_quantization_and_whether_it_fits() {
    let home = Home::new();
    home.add_real_model();
    assert_eq!(home.run(&["download", "acme/real"]).code, Some(0));
    let listed = home.run(&["list"]);
    let line = listed
        .stdout
        .lines()
        .find(|line| line.contains("acme/real"))
        .unwrap();
    assert!(
        line.contains("llama") && line.contains("BF16") && line.contains("fits: "),
        "{line}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["list", "--json"]).stdout).unwrap();
    let models = json["models"].as_array().unwrap();
    let real = models
        .iter()
        .find(|model| model["name"] == "acme/real")
        .unwrap();
    assert_eq!(real["loads"]["architecture"], "llama");
    assert_eq!(real["loads"]["fits"], true);
    assert_eq!(real["incomplete"], false);
}

#[test]
fn a_missing_model_names_the_download_and_offline_mode_says_so() {
    let home = Home::new();
    let ran = home.run(&["inspect", "acme/tiny"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr
            .contains("`inferno download acme/tiny` fetches it"),
        "{ran:?}"
    );
    let offline = home.run(&["download", "acme/tiny", "--offline"]);
    assert_eq!(offline.code, Some(1));
    assert!(offline.stderr.contains("offline mode"), "{offline:?}");
    let mut command = home.command(&["download", "acme/tiny"]);
    let by_variable = Ran::of(command.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert!(
        by_variable.stderr.contains("HF_HUB_OFFLINE"),
        "{by_variable:?}"
    );
    assert!(home.server.seen().is_empty());
    home.run(&["download", "acme/tiny"]);
    let before = home.server.seen().len();
    let here = home.run(&["download", "acme/tiny", "--offline"]);
    assert_eq!(here.code, Some(0), "{here:?}");
    assert_eq!(home.server.seen().len(), before);
}

#[test]
fn a_token_file_is_used_and_no_token_is_ever_printed() {
    let home = Home::new();
    home.server.know_token("hf_from_file");
    home.server.change("acme/tiny", |repository| {
        repository.gated = Some("hf_from_file".into())
    });
    let refused = home.run(&["download", "acme/tiny"]);
    assert!(
        refused.stderr.contains("gated, and no token was sent"),
        "{refused:?}"
    );
    std::fs::write(home.folder.path().join("token"), "hf_from_file\n").unwrap();
    let mut command = home.command(&["download", "acme/tiny"]);
    let ran = Ran::of(command.env("INFERNO_LOG", "trace").output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        !format!("{ran:?}").contains("hf_from_file"),
        "the token was printed"
    );
    let mut command = home.command(&["download", "acme/tiny"]);
    let wrong = Ran::of(command.env("HF_TOKEN", "hf_wrong_one").output().unwrap());
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("refuses the token of HF_TOKEN"),
        "{wrong:?}"
    );
    assert!(
        !format!("{wrong:?}").contains("hf_wrong_one"),
        "the token was printed"
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let home = Home::new();
    for (name, value) in [
        ("HF_ENDPOINT", "not an address"),
        ("HF_ENDPOINT", "ftp://example.org"),
        ("HF_TOKEN", "two words"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
        ("HTTP_PROXY", "http://"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ] {
        let mut command = home.command(&["download", "acme/tiny"]);
        let ran = Ran::of(command.env(name, value).output().unwrap());
        assert_eq!(ran.code, Some(1), "{name}={value}: {ran:?}");
        assert!(
            ran.stderr.contains(name) && ran.stderr.contains("hint: "),
            "{name}={value}: {ran:?}"
        );
    }
}

#[test]
fn without_a_home_variable_nothing_panics() {
    let home = Home::new();
    for arguments in [
        &["list"][..],
        &["verify", "--all"],
        &["inspect", "acme/no-such-model"],
    ] {
        let mut command = home.command(arguments);
        let ran = Ran::of(
            command
                .env_remove("HF_HOME")
                .env_remove("HOME")
                .output()
                .unwrap(),
        );
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}

/// A proxy that refuses, and a hub that needs none.
#[test]
fn proxies_are_used_and_no_proxy_is_honoured() {
    let home = Home::new();
    let proxy = HubServer::start();
    let mut command = home.command(&["download", "acme/tiny"]);
    let ran = Ran::of(command.env("http_proxy", &proxy.url).output().unwrap());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        proxy
            .seen()
            .iter()
            .any(|seen| seen.text.starts_with("CONNECT ")),
        "{:?}",
        proxy.seen()
    );
    assert!(ran.stderr.contains("proxy"), "{ran:?}");
    let mut command = home.command(&["download", "acme/tiny"]);
    command
        .env("http_proxy", &proxy.url)
        .env("no_proxy", "example.org,127.0.0.1");
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// A small disk that somebody else fills meanwhile: an own mount in an own namespace, where the system lets a user have one.
#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn a_full_disk_is_told_and_the_part_is_kept() {
    const SCRIPT: &str = r#"
        disk=$1; program=$2
        mount -t tmpfs -o size=80m none "$disk" 2> /dev/null || exit 77
        export HF_HUB_CACHE="$disk/hub"
        "$program" download acme/tiny & child=$!
        while ! ls "$disk"/hub/models--acme--tiny/blobs/*.incomplete > /dev/null 2>&1; do sleep 0.05; done
        cat /dev/zero > "$disk/filler" 2> /dev/null
        wait $child; echo "full: $?"
        rm "$disk/filler"
        stat -c 'kept: %s' "$disk"/hub/models--acme--tiny/blobs/*.incomplete
        "$program" download acme/tiny; echo "then: $?"
        mount -o remount,ro "$disk"
        "$program" download acme/tiny; echo "read-only and here: $?"
        "$program" download acme/real; echo "read-only and not here: $?"
    "#;
    let home = Home::new();
    home.add_real_model();
    home.server.throttle(10_000, Duration::from_millis(50));
    let disk = home.folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_inferno"));
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-rm", "sh", "-c", SCRIPT, "sh"])
        .args([&disk, program]);
    for (name, value) in home.command(&[]).get_envs() {
        match value {
            Some(value) => unshare.env(name, value),
            None => unshare.env_remove(name),
        };
    }
    let ran = match unshare.output().map(Ran::of) {
        Ok(ran) if ran.stdout.contains("full: ") => ran,
        other => {
            eprintln!("SKIPPED: no mount of one's own here: {other:?}");
            return;
        }
    };
    for words in [
        "full: 1",
        "kept: ",
        "then: 0",
        "read-only and here: 0",
        "read-only and not here: 1",
    ] {
        assert!(ran.stdout.contains(words), "{words} is not in {ran:?}");
    }
    for words in ["the disk is full", "cannot create", "not read-only"] {
        assert!(ran.stderr.contains(words), "{words} is not in {ran:?}");
    }
}
