//! Downloads from a hub that misbehaves: every row is a way in which servers, networks and disks fail.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use inferno_runtime::hub::{
    Cancel, Downloaded, Event, Hub, HubError, ModelName, Patience, PlanOptions, Settings, Token,
    TokenState, installed_in, repositories_in, verify,
};
use proptest::prelude::*;

use inferno_hub_server::{Fault, HubServer, noise, sha256, tiny_llama};

const WEIGHTS: usize = 700_000;
const MODEL: &str = "model.safetensors";

struct Case {
    server: HubServer,
    folder: tempfile::TempDir,
    commit: String,
    events: Mutex<Vec<Event>>,
}

impl Case {
    /// A hub with `acme/tiny`, and an empty cache.
    fn new() -> Self {
        let server = HubServer::start();
        let commit = server.add("acme/tiny", &tiny_llama(WEIGHTS));
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            commit,
            events: Mutex::default(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.url.clone(),
            token: None,
            cache: Some(self.cache()),
            offline: false,
            proxy: None,
            certificates: None,
            links: true,
            piece: 1 << 30,
            patience: Patience {
                connect: Duration::from_secs(2),
                answer: Duration::from_secs(2),
                stall: Duration::from_millis(400),
                other_process: Duration::from_secs(2),
                backoff: Duration::from_millis(5),
                longest_wait: Duration::from_secs(3),
                tries: 4,
            },
        }
    }

    fn with(&self, settings: Settings, name: &str) -> Result<Downloaded, HubError> {
        let hub = Hub::new(settings)?;
        let name: ModelName = name.parse()?;
        let listener = |event: &Event| self.events.lock().unwrap().push(event.clone());
        let cancel = Cancel::default();
        let plan = hub.plan(&name, PlanOptions::default(), &listener, &cancel)?;
        hub.download(&plan, &listener, &cancel)
    }

    fn get(&self, name: &str) -> Result<Downloaded, HubError> {
        self.with(self.settings(), name)
    }

    fn error(&self, name: &str) -> String {
        let error = self.get(name).expect_err("it went well");
        let text = error.to_string();
        assert!(text.contains("\nhint: "), "nothing to do about: {text}");
        text
    }

    fn snapshot(&self) -> PathBuf {
        self.cache()
            .join("models--acme--tiny/snapshots")
            .join(&self.commit)
    }

    fn blobs(&self) -> PathBuf {
        self.cache().join("models--acme--tiny/blobs")
    }

    fn part(&self) -> PathBuf {
        let hash = sha256(&noise(WEIGHTS, 2));
        self.blobs().join(format!("{hash}.incomplete"))
    }

    /// Leaves the first bytes of the weights, as an interrupted download does.
    fn leave_part(&self, bytes: &[u8]) {
        std::fs::create_dir_all(self.blobs()).unwrap();
        std::fs::write(self.part(), bytes).unwrap();
    }

    /// The model is here, byte for byte, and nothing else is.
    fn assert_whole(&self) {
        let all = tiny_llama(WEIGHTS);
        let wanted = [
            "config.json",
            "generation_config.json",
            MODEL,
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        let mut found: Vec<String> = std::fs::read_dir(self.snapshot())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, wanted);
        for name in wanted {
            let (_, bytes) = all.iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(
                &std::fs::read(self.snapshot().join(name)).unwrap(),
                bytes,
                "{name}"
            );
        }
        assert!(!self.part().exists());
        let blobs = std::fs::read_dir(self.blobs()).unwrap().count();
        assert_eq!(blobs, wanted.len(), "something was left behind");
    }

    /// No file has its final name although its content is not right.
    fn assert_no_weights(&self) {
        assert!(!self.snapshot().join(MODEL).exists());
        assert!(!self.blobs().join(sha256(&noise(WEIGHTS, 2))).exists());
    }

    fn retries(&self) -> usize {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| matches!(event, Event::Retrying { .. }))
            .count()
    }

    fn restarts(&self) -> usize {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| matches!(event, Event::Restarted { .. }))
            .count()
    }

    fn assert_progress_never_goes_back(&self) {
        let mut last = 0;
        for event in self.events.lock().unwrap().iter() {
            if let Event::Progress { done, total } = event {
                assert!(
                    *done > last && done <= total,
                    "{done} after {last} of {total}"
                );
                last = *done;
            }
        }
        assert!(last > 0);
    }
}

fn megabytes(seen: &[inferno_hub_server::Seen]) -> Vec<Option<String>> {
    seen.iter().map(|seen| seen.range.clone()).collect()
}

#[test]
fn a_model_is_fetched_in_the_layout_of_the_cache_and_only_what_it_needs() {
    let case = Case::new();
    let done = case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert_eq!(done.path, case.snapshot());
    let main = case.cache().join("models--acme--tiny/refs/main");
    assert_eq!(std::fs::read_to_string(main).unwrap(), case.commit);
    let link = std::fs::read_link(case.snapshot().join(MODEL)).unwrap();
    assert_eq!(
        link,
        Path::new("../../blobs").join(sha256(&noise(WEIGHTS, 2)))
    );
    for (file, _) in tiny_llama(0) {
        let needed = file.ends_with(".json") || file == MODEL;
        assert_eq!(!case.server.fetches(file).is_empty(), needed, "{file}");
    }
    case.assert_progress_never_goes_back();
    let installed = installed_in(&case.cache());
    assert_eq!(installed.len(), 1);
    assert!(installed[0].is_complete() && installed[0].name == "acme/tiny");
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let case = Case::new();
    case.get("acme/tiny").unwrap();
    let before = case.server.sent();
    let again = case.get("acme/tiny").unwrap();
    assert_eq!((again.fetched, case.server.sent()), (0, before));
    // As huggingface_hub leaves it when the links were removed: the contents serve again.
    std::fs::remove_dir_all(case.snapshot()).unwrap();
    assert_eq!(case.get("acme/tiny").unwrap().fetched, 0);
    case.assert_whole();
}

#[test]
fn a_half_deleted_cache_is_completed() {
    let case = Case::new();
    case.get("acme/tiny").unwrap();
    let target = std::fs::canonicalize(case.snapshot().join(MODEL)).unwrap();
    std::fs::remove_file(target).unwrap();
    assert!(!installed_in(&case.cache())[0].is_complete());
    let done = case.get("acme/tiny").unwrap();
    assert_eq!(done.fetched, WEIGHTS as u64);
    case.assert_whole();
}

#[test]
fn a_part_is_continued_by_a_range() {
    let case = Case::new();
    let weights = noise(WEIGHTS, 2);
    case.leave_part(&weights[..300_000]);
    let done = case.get("acme/tiny").unwrap();
    case.assert_whole();
    let ranges = megabytes(&case.server.fetches(MODEL));
    assert_eq!(ranges, [Some(format!("bytes=300000-{}", WEIGHTS - 1))]);
    assert!(done.fetched < WEIGHTS as u64);
}

#[test]
fn a_part_with_wrong_bytes_begins_anew() {
    let case = Case::new();
    let mut wrong = noise(WEIGHTS, 2)[..300_000].to_vec();
    wrong[1234] ^= 1;
    case.leave_part(&wrong);
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert_eq!(case.restarts(), 1);
}

#[test]
fn a_whole_part_only_needs_its_name() {
    let case = Case::new();
    case.leave_part(&noise(WEIGHTS, 2));
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert!(case.server.fetches(MODEL).is_empty());
}

#[test]
fn connections_that_break_are_continued() {
    let case = Case::new();
    for bytes in [100_000, 200_000, 1, 0, 150_000] {
        case.server.fault(MODEL, Fault::Drop(bytes));
    }
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert_eq!(case.retries(), 5);
    assert_eq!(case.restarts(), 0);
    case.assert_progress_never_goes_back();
    let firsts: Vec<_> = megabytes(&case.server.fetches(MODEL));
    assert_eq!(firsts[0], None);
    assert!(
        firsts[1].as_ref().unwrap().starts_with("bytes=100000-"),
        "{firsts:?}"
    );
}

#[test]
fn a_body_that_ends_early_without_a_sign_is_continued() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::CutBody(123_456));
    case.get("acme/tiny").unwrap();
    case.assert_whole();
}

#[test]
fn a_dead_network_is_given_up_and_what_is_here_is_kept() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::Drop(500_000));
    case.server.always(MODEL, Fault::Drop(0));
    let text = case.error("acme/tiny");
    assert!(text.contains("cannot be reached"), "{text}");
    case.assert_no_weights();
    assert_eq!(std::fs::metadata(case.part()).unwrap().len(), 500_000);
    assert!(!installed_in(&case.cache())[0].is_complete());
    case.server.heal();
    let done = case.get("acme/tiny").unwrap();
    assert_eq!(done.fetched, 200_000);
    case.assert_whole();
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::Drop(300_000));
    case.server.fault(MODEL, Fault::NoRange);
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert_eq!(case.restarts(), 1);
    case.assert_progress_never_goes_back();
}

#[test]
fn a_206_with_a_wrong_content_range_is_not_appended() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::Drop(300_000));
    case.server.fault(MODEL, Fault::OtherRange);
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    assert_eq!(case.restarts(), 1);
}

#[test]
fn a_416_begins_anew() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::Drop(300_000));
    case.server.fault(
        MODEL,
        Fault::Status(416, vec![("Content-Range", "bytes */5".into())]),
    );
    case.get("acme/tiny").unwrap();
    case.assert_whole();
}

#[test]
fn a_wrong_length_is_refused() {
    for fault in [Fault::Short(WEIGHTS - 1), Fault::Long(10)] {
        let case = Case::new();
        case.server.always(MODEL, fault.clone());
        let text = case.error("acme/tiny");
        assert!(
            text.contains("did not arrive as the hub lists it"),
            "{fault:?}: {text}"
        );
        case.assert_no_weights();
        case.server.heal();
        case.get("acme/tiny").unwrap();
        case.assert_whole();
    }
}

#[test]
fn a_wrong_hash_is_refused() {
    let case = Case::new();
    case.server.always(MODEL, Fault::Garbled);
    let text = case.error("acme/tiny");
    assert!(text.contains(&sha256(&noise(WEIGHTS, 2))), "{text}");
    case.assert_no_weights();
    case.server.heal();
    case.get("acme/tiny").unwrap();
    case.assert_whole();
}

#[test]
fn a_wrong_hash_of_a_small_file_is_refused() {
    let case = Case::new();
    case.server.always("tokenizer_config.json", Fault::Garbled);
    let text = case.error("acme/tiny");
    assert!(text.contains("tokenizer_config.json"), "{text}");
    assert!(!case.snapshot().join("tokenizer_config.json").exists());
    // Side files come first: without them no weights are linked.
    case.assert_no_weights();
}

#[test]
fn a_stalled_connection_is_given_up_and_continued() {
    let case = Case::new();
    case.server.fault(MODEL, Fault::Stall(250_000));
    let start = Instant::now();
    case.get("acme/tiny").unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    case.assert_whole();
    assert!(case.retries() >= 1);
}

#[test]
fn a_trickle_counts_as_a_stall() {
    let case = Case::new();
    case.server
        .fault(MODEL, Fault::Trickle(Duration::from_millis(50)));
    let start = Instant::now();
    case.get("acme/tiny").unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    case.assert_whole();
}

#[test]
fn retry_after_is_honoured_in_seconds_and_as_a_date() {
    let waits: [fn() -> String; 2] = [
        || "1".to_string(),
        || httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(2)),
    ];
    for wait in waits {
        let wait = wait();
        let case = Case::new();
        let headers = vec![("Retry-After", wait.clone())];
        case.server.fault(MODEL, Fault::Status(429, headers));
        let start = Instant::now();
        case.get("acme/tiny").unwrap();
        // A date has whole seconds only.
        assert!(
            start.elapsed() > Duration::from_millis(900),
            "{wait}: {:?}",
            start.elapsed()
        );
        case.assert_whole();
    }
}

#[test]
fn a_retry_after_of_an_hour_is_told_and_not_waited_for() {
    let case = Case::new();
    case.server.always(
        "revision/main",
        Fault::Status(429, vec![("Retry-After", "3600".into())]),
    );
    let start = Instant::now();
    let text = case.error("acme/tiny");
    assert!(text.contains("3600 s"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn server_errors_are_retried_and_then_told() {
    for status in [500, 502, 503, 504] {
        let case = Case::new();
        case.server.fault(MODEL, Fault::Status(status, vec![]));
        case.server
            .fault("revision/main", Fault::Status(status, vec![]));
        case.server.fault(
            &format!("tree/{}", case.commit),
            Fault::Status(status, vec![]),
        );
        case.get("acme/tiny").unwrap();
        assert_eq!(case.retries(), 3);
        case.assert_whole();
        case.server
            .always("revision/main", Fault::Status(status, vec![]));
        let text = case.error("acme/tiny");
        assert!(text.contains(&status.to_string()), "{text}");
    }
}

#[test]
fn an_expired_signature_of_the_storage_host_is_renewed() {
    let case = Case::new();
    let stored = format!("{}/{MODEL}", sha256(&noise(WEIGHTS, 2)));
    case.server.fault(&stored, Fault::Status(403, vec![]));
    case.get("acme/tiny").unwrap();
    case.assert_whole();
}

#[test]
fn a_login_page_is_not_taken_for_a_file_or_a_listing() {
    for path in ["revision/main", MODEL, "config.json"] {
        let case = Case::new();
        case.server.always(path, Fault::LoginPage);
        let text = case.error("acme/tiny");
        assert!(
            text.contains("a web page came instead") && text.contains("login page"),
            "{path}: {text}"
        );
        case.assert_no_weights();
    }
}

#[test]
fn truncated_json_is_retried_and_garbage_is_told() {
    let case = Case::new();
    let tree = format!("tree/{}", case.commit);
    case.server.fault("revision/main", Fault::CutBody(20));
    case.server.fault(&tree, Fault::CutBody(100));
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    for (path, json) in [
        ("revision/main", "[1, 2, 3]"),
        ("revision/main", r#"{"sha": "../../etc", "siblings": []}"#),
        ("revision/main", "not json"),
        (&tree, r#"{"error": "no"}"#),
        (
            &tree,
            r#"[{"type": "file", "path": "config.json", "size": -1, "oid": "x"}]"#,
        ),
        (
            &tree,
            r#"[{"type": "file", "path": "config.json", "size": 1, "oid": "../../x"}]"#,
        ),
    ] {
        case.server.heal();
        case.server.always(path, Fault::Json(json.into()));
        let text = case.error("acme/tiny");
        assert!(
            text.contains("does not answer like a model hub"),
            "{json}: {text}"
        );
    }
}

#[test]
fn endless_headers_and_bodies_have_an_end() {
    for (path, fault) in [
        ("revision/main", Fault::EndlessHeaders),
        ("revision/main", Fault::EndlessBody),
        ("config.json", Fault::EndlessBody),
        (MODEL, Fault::EndlessHeaders),
        (MODEL, Fault::EndlessBody),
    ] {
        let case = Case::new();
        case.server.always(path, fault.clone());
        let start = Instant::now();
        case.error("acme/tiny");
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{path} {fault:?}: {:?}",
            start.elapsed()
        );
        case.assert_no_weights();
    }
}

#[test]
fn a_huge_listing_has_an_end() {
    let case = Case::new();
    let names: Vec<String> = (0..300).map(|number| format!("{number:03}.txt")).collect();
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (name.as_str(), Vec::new()))
        .collect();
    case.server.add("acme/tiny", &files);
    case.server
        .change("acme/tiny", |repository| repository.page = 1);
    let text = case.error("acme/tiny");
    assert!(text.contains("more than 100 pages"), "{text}");
}

#[test]
fn a_listing_in_pages_is_read_to_its_end() {
    let case = Case::new();
    case.server
        .change("acme/tiny", |repository| repository.page = 3);
    case.get("acme/tiny").unwrap();
    case.assert_whole();
    let pages = case
        .server
        .seen()
        .iter()
        .filter(|seen| seen.path.contains("/tree/"))
        .count();
    assert_eq!(pages, 4);
}

#[test]
fn the_token_goes_to_the_hub_and_never_to_another_host() {
    let case = Case::new();
    case.server.know_token("hf_right");
    case.server.change("acme/tiny", |repository| {
        repository.gated = Some("hf_right".into());
        repository.private = true;
    });
    let other = HubServer::start();
    // An absolute redirect of a small file to a host that is not the hub.
    case.server.fault(
        "generation_config.json",
        Fault::Redirect(format!("{}/elsewhere", other.url)),
    );
    let mut settings = case.settings();
    settings.token = Some(Token::new("hf_right", "HF_TOKEN").unwrap());
    let _ = case.with(settings.clone(), "acme/tiny");
    case.with(settings, "acme/tiny").unwrap();
    case.assert_whole();
    let seen = case.server.seen();
    assert!(seen.iter().any(|seen| seen.at_storage));
    for seen in seen {
        assert_eq!(
            seen.authorization.is_some(),
            !seen.at_storage,
            "{}",
            seen.text
        );
    }
    assert!(!other.seen().is_empty());
    assert!(
        other
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none() && !seen.text.contains("hf_right"))
    );
}

#[test]
fn redirect_loops_and_redirects_to_nowhere_are_told() {
    let case = Case::new();
    let own = format!("{}/api/models/acme/tiny/revision/main", case.server.url);
    for to in [
        own.as_str(),
        "file:///etc/passwd",
        "ftp://example.org/x",
        "http://",
        "",
    ] {
        case.server
            .always("revision/main", Fault::Redirect(to.into()));
        let text = case.error("acme/tiny");
        assert!(text.contains("redirects"), "{to}: {text}");
    }
}

#[test]
fn a_listing_that_continues_at_another_host_is_refused() {
    let case = Case::new();
    let other = HubServer::start();
    let link = format!(
        "<{}/api/models/acme/tiny/tree/x?cursor=1>; rel=\"next\"",
        other.url
    );
    let headers = vec![("Link", link), ("Content-Type", "application/json".into())];
    case.server.always(
        &format!("tree/{}", case.commit),
        Fault::Answer(200, headers, "[]".into()),
    );
    let text = case.error("acme/tiny");
    assert!(text.contains("its listing continues at"), "{text}");
    assert!(other.seen().is_empty());
}

#[test]
fn refusals_say_what_to_do_and_where() {
    let case = Case::new();
    case.server.know_token("hf_other");
    case.server.add("acme/gated", &tiny_llama(10));
    case.server.change("acme/gated", |repository| {
        repository.gated = Some("hf_right".into())
    });
    case.server.add("acme/secret", &tiny_llama(10));
    case.server
        .change("acme/secret", |repository| repository.private = true);
    let url = &case.server.url;
    let token = |secret: &str| Some(Token::new(secret, "HF_TOKEN").unwrap());
    for (name, token, words) in [
        (
            "acme/gated",
            None,
            vec![
                "no token".to_string(),
                format!("{url}/acme/gated"),
                format!("{url}/settings/tokens"),
            ],
        ),
        (
            "acme/gated",
            token("hf_other"),
            vec![
                "licence".into(),
                format!("{url}/acme/gated"),
                "HF_TOKEN".into(),
            ],
        ),
        (
            "acme/gated",
            token("hf_wrong"),
            vec![
                "refuses the token of HF_TOKEN".into(),
                format!("{url}/settings/tokens"),
            ],
        ),
        (
            "acme/secret",
            None,
            vec!["or it is private".into(), "HF_TOKEN".into()],
        ),
        (
            "acme/missing",
            token("hf_other"),
            vec!["has no model `acme/missing`".into()],
        ),
        (
            "acme/tiny@v9",
            None,
            vec![
                "no revision `v9`".into(),
                format!("{url}/acme/tiny/tree/main"),
            ],
        ),
    ] {
        let mut settings = case.settings();
        settings.token = token;
        let text = case.with(settings, name).expect_err(name).to_string();
        for word in words {
            assert!(text.contains(&word), "{name}: {word} is not in: {text}");
        }
        assert!(
            !text.contains("hf_wrong") && !text.contains("hf_other"),
            "{text}"
        );
    }
}

#[test]
fn unknown_architectures_and_quantizations_are_told_before_the_download() {
    let case = Case::new();
    for (config, words) in [
        (
            r#"{"architectures": ["NewForCausalLM"]}"#,
            [
                "NewForCausalLM",
                "LlamaForCausalLM",
                "model-spec/<name>.toml",
            ],
        ),
        (
            r#"{"architectures": []}"#,
            ["no architecture", "known are", "--force"],
        ),
        (
            r#"{"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq"}}"#,
            ["gptq", "not supported yet", "--force"],
        ),
        ("[]", ["config.json", "no JSON object", "--force"]),
    ] {
        let mut files = tiny_llama(WEIGHTS);
        files
            .iter_mut()
            .find(|(name, _)| *name == "config.json")
            .unwrap()
            .1 = config.into();
        case.server.add("acme/other", &files);
        let text = case.error("acme/other");
        for word in words {
            assert!(text.contains(word), "{config}: {word} is not in {text}");
        }
    }
    assert!(case.server.fetches(MODEL).is_empty());
    assert!(!case.cache().exists(), "something was written");
    let hub = Hub::new(case.settings()).unwrap();
    let force = PlanOptions { force: true };
    let plan = hub.plan(
        &"acme/other".parse().unwrap(),
        force,
        &|_| {},
        &Cancel::default(),
    );
    assert_eq!(plan.unwrap().architecture, None);
}

#[test]
fn a_model_too_large_for_the_disk_is_refused_before_the_download() {
    let case = Case::new();
    let lfs = |digit: &str| serde_json::json!({"oid": digit.repeat(64), "size": u64::MAX, "pointerSize": 1});
    // Twice: the sum of what a server lists may be anything, too.
    let listing = serde_json::json!([
        {"type": "file", "path": "x-00001-of-00002.gguf", "size": 1, "oid": "x", "lfs": lfs("0")},
        {"type": "file", "path": "x-00002-of-00002.gguf", "size": 1, "oid": "x", "lfs": lfs("1")},
    ]);
    let tree = format!("tree/{}", case.commit);
    case.server.always(&tree, Fault::Json(listing.to_string()));
    let start = String::from_utf8(gguf_start("llama")).unwrap();
    case.server
        .always("x-00001-of-00002.gguf", Fault::Json(start));
    let text = case.error("acme/tiny");
    assert!(
        text.contains("no room for") && text.contains("HF_HUB_CACHE"),
        "{text}"
    );
    assert!(!case.cache().exists(), "something was written");
}

#[test]
fn hostile_file_names_of_a_listing_never_become_paths() {
    let case = Case::new();
    let mut files = tiny_llama(1000);
    for name in [
        "../../evil.json",
        "/etc/evil",
        "a/../../evil",
        "C:\\evil",
        "-rf",
        "model\0.safetensors",
        "NUL",
    ] {
        files.push((name, b"evil".to_vec()));
    }
    case.server.add("acme/tiny", &files);
    case.get("acme/tiny").unwrap();
    let mut folders = vec![case.folder.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(
                !name.contains("evil") && name != "NUL" && name != "-rf",
                "{name}"
            );
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn a_hostile_index_is_refused() {
    let case = Case::new();
    let index = br#"{"weight_map": {"a": "../../../../.ssh/authorized_keys"}}"#.to_vec();
    let mut files = tiny_llama(1000);
    files.retain(|(name, _)| *name != MODEL);
    files.push(("model.safetensors.index.json", index));
    files.push(("../../../../.ssh/authorized_keys", b"ssh-rsa evil".to_vec()));
    case.server.add("acme/tiny", &files);
    let text = case.error("acme/tiny");
    assert!(
        text.contains("authorized_keys") && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn shards_come_as_the_index_says() {
    let case = Case::new();
    let mut files = tiny_llama(1000);
    files.retain(|(name, _)| *name != MODEL);
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let index = serde_json::json!({"weight_map": {"a": shards[0], "b": shards[1]}}).to_string();
    files.push(("model.safetensors.index.json", index.into_bytes()));
    files.push((shards[0], noise(200_000, 11)));
    files.push((shards[1], noise(300_000, 12)));
    files.push(("model-extra.safetensors", noise(1000, 13)));
    case.server.add("acme/sharded", &files);
    let done = case.get("acme/sharded").unwrap();
    for shard in shards {
        assert!(done.path.join(shard).is_file());
    }
    assert!(!done.path.join("model-extra.safetensors").exists());
}

#[test]
fn gguf_models_are_chosen_by_quantization() {
    let case = Case::new();
    let gguf = |architecture: &str, len| [gguf_start(architecture), noise(len, 7)].concat();
    case.server.add(
        "acme/quantized",
        &[
            ("README.md", b"hi".to_vec()),
            ("tiny-Q4_K_M.gguf", gguf("llama", 5000)),
            ("tiny-Q8_0.gguf", gguf("llama", 9000)),
            ("tiny-IQ4_XS.gguf", gguf("llama", 4000)),
            ("new-Q4_0.gguf", gguf("newarch", 4000)),
            ("BF16/tiny-BF16-00001-of-00002.gguf", gguf("llama", 20_000)),
            ("BF16/tiny-BF16-00002-of-00002.gguf", noise(10_000, 8)),
        ],
    );
    let text = case.error("acme/quantized");
    for word in [
        "tiny-Q4_K_M.gguf (0.0 MB)",
        "IQ4 is not read yet",
        "BF16/tiny-BF16-00001-of-00002.gguf",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = case.error("acme/quantized:Q2_K");
    assert!(text.contains("no `Q2_K`"), "{text}");
    let text = case.error("acme/quantized:IQ4_XS");
    assert!(text.contains("IQ4"), "{text}");
    let text = case.error("acme/quantized:new-Q4_0.gguf");
    assert!(
        text.contains("`newarch`") && text.contains("known are"),
        "{text}"
    );
    let done = case.get("acme/quantized:q4_k_m").unwrap();
    assert_eq!(done.name, "acme/quantized:tiny-Q4_K_M.gguf");
    assert!(done.path.is_file());
    // Only the start of the others was looked at.
    assert!(case.server.fetches("tiny-Q8_0.gguf").is_empty());
    let done = case.get("acme/quantized:BF16").unwrap();
    assert!(
        done.path
            .with_file_name("tiny-BF16-00002-of-00002.gguf")
            .is_file()
    );
    let names: Vec<String> = installed_in(&case.cache())
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(
        names,
        [
            "acme/quantized:BF16/tiny-BF16-00001-of-00002.gguf",
            "acme/quantized:tiny-Q4_K_M.gguf"
        ]
    );
}

/// The header of a GGUF file with its architecture, and then whatever.
fn gguf_start(architecture: &str) -> Vec<u8> {
    let key = "general.architecture";
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key.bytes());
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend((architecture.len() as u64).to_le_bytes());
    bytes.extend(architecture.bytes());
    bytes
}

#[test]
fn large_files_come_in_pieces() {
    let case = Case::new();
    let mut settings = case.settings();
    settings.piece = 200_000;
    case.with(settings, "acme/tiny").unwrap();
    case.assert_whole();
    let ranges = megabytes(&case.server.fetches(MODEL));
    assert_eq!(
        ranges,
        [
            "bytes=0-199999",
            "bytes=200000-399999",
            "bytes=400000-599999",
            "bytes=600000-699999"
        ]
        .map(|range| Some(range.to_string()))
    );
}

#[test]
fn where_links_fail_snapshots_are_copies() {
    let case = Case::new();
    let mut settings = case.settings();
    settings.links = false;
    case.with(settings.clone(), "acme/tiny").unwrap();
    case.assert_whole();
    assert!(
        case.snapshot()
            .join(MODEL)
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
    assert_eq!(case.with(settings, "acme/tiny").unwrap().fetched, 0);
}

#[test]
fn paths_with_spaces_and_unicode_work() {
    let case = Case::new();
    let mut settings = case.settings();
    settings.cache = Some(case.folder.path().join("мои модели ✓/hub"));
    let done = case.with(settings, "acme/tiny").unwrap();
    assert!(done.path.join(MODEL).is_file());
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let case = Case::new();
    let file = case.folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    // Not even root may write into /proc, whose file system has no room at all.
    for (folder, problem) in [
        (file.join("hub"), "cannot create"),
        ("/proc/inferno-cache".into(), "no room for"),
    ] {
        if !cfg!(target_os = "linux") && folder.starts_with("/proc") {
            continue;
        }
        let mut settings = case.settings();
        settings.cache = Some(folder);
        let text = case
            .with(settings, "acme/tiny")
            .expect_err("written")
            .to_string();
        assert!(
            text.contains(problem) && text.contains("HF_HUB_CACHE"),
            "{text}"
        );
    }
    let mut settings = case.settings();
    settings.cache = None;
    let text = case
        .with(settings, "acme/tiny")
        .expect_err("no home")
        .to_string();
    assert!(text.contains("no home directory"), "{text}");
}

#[test]
fn two_downloads_at_once_fetch_every_byte_once() {
    let case = Case::new();
    case.server.throttle(20_000, Duration::from_millis(5));
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| case.get("acme/tiny")))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    let fetched: u64 = results.into_iter().map(|done| done.unwrap().fetched).sum();
    case.assert_whole();
    assert!(fetched < WEIGHTS as u64 + 200_000, "{fetched}");
    assert_eq!(case.server.fetches(MODEL).len(), 1);
    let events = case.events.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Waiting { .. }))
    );
}

#[test]
fn a_stopped_download_ends_soon_and_is_continued() {
    let case = Case::new();
    case.server.always(MODEL, Fault::Stall(300_000));
    let mut settings = case.settings();
    settings.patience.stall = Duration::from_secs(60);
    let hub = Hub::new(settings).unwrap();
    let cancel = Cancel::default();
    let plan = hub
        .plan(
            &"acme/tiny".parse().unwrap(),
            PlanOptions::default(),
            &|_| {},
            &cancel,
        )
        .unwrap();
    let switch = cancel.clone();
    let part = case.part();
    std::thread::spawn(move || {
        while std::fs::metadata(&part).map_or(0, |meta| meta.len()) < 300_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        switch.cancel();
    });
    let start = Instant::now();
    let error = hub.download(&plan, &|_| {}, &cancel).expect_err("stopped");
    assert!(matches!(error, HubError::Cancelled), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    case.server.heal();
    assert_eq!(
        case.get("acme/tiny").unwrap().fetched,
        WEIGHTS as u64 - 300_000
    );
    case.assert_whole();
}

#[test]
fn verification_finds_damage_and_a_download_repairs_it() {
    let case = Case::new();
    case.get("acme/tiny").unwrap();
    let check = || {
        let repositories = repositories_in(&case.cache());
        verify(&repositories[0], &|_, _| {}, &Cancel::default()).unwrap()
    };
    let sound = check();
    assert_eq!(
        (sound.files, sound.findings.len(), sound.unchecked),
        (5, 0, 0)
    );
    let weights = std::fs::canonicalize(case.snapshot().join(MODEL)).unwrap();
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let damaged = check();
    assert_eq!(damaged.findings.len(), 1);
    assert_eq!(damaged.findings[0].file, MODEL);
    assert!(damaged.findings[0].hint.contains("--repair"));
    assert_eq!(inferno_runtime::hub::remove_damaged(&damaged).unwrap(), 1);
    assert_eq!(check().findings.len(), 1);
    case.get("acme/tiny").unwrap();
    assert!(check().findings.is_empty());
}

#[test]
fn comparing_with_the_hub_judges_copies_too() {
    let case = Case::new();
    let mut settings = case.settings();
    settings.links = false;
    case.with(settings.clone(), "acme/tiny").unwrap();
    let repository = &repositories_in(&case.cache())[0];
    let hub = Hub::new(settings).unwrap();
    let compare = || {
        hub.compare(repository, &|_| {}, &Cancel::default())
            .unwrap()
    };
    assert!(compare().is_empty());
    let copy = case.snapshot().join("tokenizer_config.json");
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, "[]\n").unwrap();
    let findings = compare();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].file, "tokenizer_config.json");
}

#[test]
fn the_hub_is_reached_and_knows_tokens() {
    let case = Case::new();
    case.server.know_token("hf_right");
    let reach = |token: Option<&str>| {
        let mut settings = case.settings();
        settings.token = token.map(|token| Token::new(token, "HF_TOKEN").unwrap());
        Hub::new(settings).unwrap().reach()
    };
    assert_eq!(reach(None).unwrap().token, TokenState::None);
    assert_eq!(
        reach(Some("hf_right")).unwrap().token,
        TokenState::Accepted { user: "jo".into() }
    );
    assert_eq!(reach(Some("hf_wrong")).unwrap().token, TokenState::Refused);
    case.server.always("whoami-v2", Fault::LoginPage);
    assert!(matches!(reach(None), Err(HubError::NotAHub { .. })));
    let mut settings = case.settings();
    settings.endpoint = "http://127.0.0.1:1".into();
    let gone = Hub::new(settings).unwrap().reach();
    assert!(matches!(gone, Err(HubError::Unreachable { .. })));
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let bytes = 0..WEIGHTS + 1000;
    prop_oneof![
        bytes.clone().prop_map(Fault::Drop),
        bytes.clone().prop_map(Fault::CutBody),
        bytes.prop_map(Fault::Short),
        (1..1000_usize).prop_map(Fault::Long),
        Just(Fault::Garbled),
        Just(Fault::NoRange),
        Just(Fault::OtherRange),
        Just(Fault::LoginPage),
        Just(Fault::Json("{}".into())),
        Just(Fault::Redirect("/nowhere".into())),
        (0..7_usize).prop_map(|index| {
            let status = [204, 304, 403, 404, 416, 429, 503][index];
            Fault::Status(status, vec![("Retry-After", "0".into())])
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a server does, nothing false gets a file's final name, and once it behaves the model is whole.
    #[test]
    fn no_misbehaviour_leaves_anything_false(faults in prop::collection::vec(any_fault(), 1..8)) {
        let case = Case::new();
        for fault in faults {
            case.server.fault(MODEL, fault);
        }
        let blob = case.blobs().join(sha256(&noise(WEIGHTS, 2)));
        for _ in 0..3 {
            let done = case.get("acme/tiny");
            prop_assert_eq!(done.is_ok(), case.snapshot().join(MODEL).exists());
            if let Ok(bytes) = std::fs::read(&blob) {
                prop_assert_eq!(sha256(&bytes), sha256(&noise(WEIGHTS, 2)));
            }
        }
        case.server.heal();
        case.get("acme/tiny").unwrap();
        case.assert_whole();
    }
}
