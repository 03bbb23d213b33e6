//! No text makes the front end panic or hang: shipped specs, cut up and put together again.

use std::time::{Duration, Instant};

use inferno_macros_core::{SpecSet, check_one, expand_one, load};

/// Words that mean something, to be put anywhere.
const WORDS: [&str; 40] = [
    "\"none\"",
    "true",
    "3",
    "1e-5",
    "\"i\"",
    "\"config\"",
    "[]",
    "{}",
    "\"\"",
    "{ hf = 1 }",
    "{ gguf = \"a\" }",
    "[\"a\", \"b\"]",
    "\"{P}\"",
    "\"{e}.x\"",
    "\"(q k v)*\"",
    "\"q k v gate\"",
    "extends = \"llama\"\n",
    "formats = [\"hf\"]\n",
    "when = \"i\"\n",
    "kind = \"moe\"\n",
    "kind = \"fc\"\n",
    "kind = \"mla\"\n",
    "[moe]\n",
    "[attn]\n",
    "[storage.a]\n",
    "qkv = \"q\"\n",
    "rows = \"(q k v)*num_heads\"\n",
    "hf = { q = \"a\" }\n",
    "out_gate = {}\n",
    "qk_norm = { scope = \"per_head\", q = \"{h}\" }\n",
    "sinks = { name = \"s\" }\n",
    "scaling = {}\n",
    "let = { a = \"b\", b = \"a\" }\n",
    "x += ",
    "if i < 2 { 1 } else { x }",
    "((((((((",
    "-",
    "é",
    "'''",
    "\u{0}",
];

fn shipped() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../model-spec");
    let entries = std::fs::read_dir(folder).expect("the folder of specs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let specs = paths.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    let read = |path: std::path::PathBuf| {
        let stem = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (stem, std::fs::read_to_string(&path).expect("readable"))
    };
    let mut files: Vec<_> = specs.map(read).collect();
    files.sort();
    files
}

/// A place in a text, at a character.
fn place(text: &str, at: u16) -> usize {
    let mut at = usize::from(at) % (text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One change: what it does, where, how much, and with what.
type Change = (u8, u16, u16, u8);

fn change(text: &mut String, (kind, at, len, word): Change, others: &[(String, String)]) {
    let start = place(text, at);
    let end = place(text, at.saturating_add(len % 40)).max(start);
    let word = usize::from(word);
    match kind % 5 {
        0 => text.replace_range(start..end, ""),
        1 => text.insert_str(start, WORDS[word % WORDS.len()]),
        2 => text.replace_range(start..end, WORDS[word % WORDS.len()]),
        3 => {
            let copy = text[start..end].to_string();
            text.insert_str(place(text, len), &copy);
        }
        _ => {
            // A line of another spec, where a line starts.
            let lines: Vec<&str> = others[word % others.len()].1.lines().collect();
            let line = format!(
                "\n{}\n",
                lines
                    .get(usize::from(len) % lines.len().max(1))
                    .unwrap_or(&"")
            );
            let start = text[..start].rfind('\n').unwrap_or(0);
            text.insert_str(start, &line);
        }
    }
}

fn survives(files: Vec<(String, String)>) {
    let start = Instant::now();
    let set = SpecSet::new(files);
    let (architectures, diagnostics) = load(&set);
    for architecture in &architectures {
        if architecture.stem == "mutant" {
            assert!(!expand_one(architecture).is_empty());
        }
    }
    for diagnostic in &diagnostics {
        assert!(!diagnostic.render_plain().is_empty());
        assert!(!diagnostic.render_terminal().is_empty());
    }
    let failed = check_one(&set, "mutant").is_err();
    assert!(failed || architectures.iter().any(|found| found.stem == "mutant"));
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "took {:?}",
        start.elapsed()
    );
}

#[test]
fn mutated_specs() {
    let files = shipped();
    bolero::check!()
        .with_type::<(u8, Vec<Change>)>()
        .with_iterations(1500)
        .for_each(|(spec, changes)| {
            let (_, text) = &files[usize::from(*spec) % files.len()];
            let mut mutant = text.clone();
            for found in changes.iter().take(8) {
                change(&mut mutant, *found, &files);
            }
            let llama = files
                .iter()
                .filter(|(stem, _)| stem == "llama" || stem.starts_with('_'));
            let mutant = ("mutant".to_string(), mutant);
            survives(llama.cloned().chain([mutant]).collect());
        });
}

#[test]
fn any_bytes() {
    bolero::check!()
        .with_type::<Vec<u8>>()
        .with_iterations(500)
        .for_each(|bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            survives(vec![("mutant".to_string(), text)]);
        });
}

/// A spec whose tables are filled with a line again and again.
fn filled(head: &str, line: impl Fn(usize) -> String) -> Vec<(String, String)> {
    let llama = shipped().into_iter().filter(|(stem, _)| stem == "llama");
    let mut text = format!("extends = \"llama\"\n{head}\n");
    for number in 0.. {
        let line = line(number);
        if text.len() + line.len() > 65_000 {
            break;
        }
        text.push_str(&line);
    }
    llama.chain([("mutant".to_string(), text)]).collect()
}

#[test]
fn large_specs_take_no_time() {
    survives(filled("[config]", |n| format!("f{n} = \"g{n}\"\n")));
    survives(filled("[config]", |n| format!("f{n} = \"f{}\"\n", n + 1)));
    survives(filled("[layers.let]", |n| {
        format!("f{n} = \"f{} + f{}\"\n", n + 1, n + 2)
    }));
    survives(filled("[layers.let]", |n| {
        format!("f{n} = \"unknown{n}\"\n")
    }));
    survives(filled("[attn]", |n| format!("f{n} = 1\n")));
    survives(filled("[norm]", |n| format!("f{n} = \"same\"\n")));
    survives(filled("", |n| format!("[c{n}]\nkind = \"fc\"\n")));
    survives(filled("[attn]\nwindow = \"1", |_| "+1".to_string()));
    survives(filled("[attn]\nwindow = \"", |_| "(".to_string()));
    survives(filled("[attn]\nwindow = ", |_| "[".to_string()));
    survives(filled("[attn]\nwindow = ", |_| "{a=".to_string()));
    survives(filled("[a", |_| ".a".to_string()));
    let doubled = (0..100).map(|n| format!("\"v{} = v{n} + v{n}\"", n + 1));
    let steps: Vec<String> = ["\"v0 = i\"".to_string()]
        .into_iter()
        .chain(doubled)
        .collect();
    survives(filled(
        &format!("[layers]\nsteps = [{}]", steps.join(", ")),
        |_| "# c\n".to_string(),
    ));
}

#[test]
fn many_norms_of_one_name() {
    let calls: Vec<String> = (0..120)
        .map(|step| {
            let calls: Vec<String> = (0..12).map(|n| format!("n{}(x)", step * 12 + n)).collect();
            format!("\"x += {}\"", calls.join(" + "))
        })
        .collect();
    let norms: String = (0..1440).map(|n| format!("n{n} = \"a\"\n")).collect();
    let text = format!(
        "extends = \"llama\"\n[layers]\nsteps = [{}]\n[norm]\n{norms}",
        calls.join(", ")
    );
    let llama = shipped().into_iter().filter(|(stem, _)| stem == "llama");
    survives(llama.chain([("mutant".to_string(), text)]).collect());
}

#[test]
fn long_chains_of_specs() {
    let chain = (0..300).map(|n| (format!("s{n}"), format!("extends = \"s{}\"\n", n + 1)));
    survives(
        chain
            .chain([("mutant".to_string(), "extends = \"s0\"\n".to_string())])
            .collect(),
    );
}
