//! From a merged table to the checked architecture. One file per table of the language.

mod attn;
mod choice;
mod claims;
mod components;
mod config;
mod defaults;
mod head;
mod layers;
mod mlp;
mod moe;
mod names;
mod norm;
mod rope;
mod rows;
mod spec;
mod steps;
mod tensor_names;
mod values;

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::ir::{Architecture, Format};
use crate::merge::{Merged, merge};
use crate::source::{PRELUDE, Span, SpecSet};
use crate::spec::{Table, Value, parse};
use names::{Names, Reads};

/// The state of checking one spec.
pub(crate) struct Checker<'a> {
    pub(crate) set: &'a SpecSet,
    pub(crate) merged: &'a Merged,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Formats that the spec serves.
    pub(crate) formats: Vec<Format>,
    pub(crate) names: Names<'a>,
    /// What has been read so far.
    pub(crate) reads: Reads,
    /// How many nearest words were looked for.
    pub(crate) hints: Cell<usize>,
}

impl Checker<'_> {
    pub(crate) fn serves(&self, format: Format) -> bool {
        self.formats.contains(&format)
    }

    /// The start of the spec's own file.
    pub(crate) fn top(&self) -> Span {
        Span {
            file: self.merged.own(),
            start: 0,
            end: 0,
        }
    }
}

/// What every file of a set says, and its syntax errors.
struct Trees {
    trees: Vec<Option<Table>>,
    errors: Vec<Vec<Diagnostic>>,
}

impl Trees {
    fn new(set: &SpecSet) -> Self {
        let mut trees = Vec::new();
        let mut errors = Vec::new();
        for file in 0..set.len() {
            match parse(set, file) {
                Ok(tree) => {
                    trees.push(Some(tree));
                    errors.push(Vec::new());
                }
                Err(mistakes) => {
                    trees.push(None);
                    errors.push(mistakes);
                }
            }
        }
        Self { trees, errors }
    }

    /// The fields that the prelude declares.
    fn prelude(&self, set: &SpecSet) -> Table {
        let tree = set.find(PRELUDE).and_then(|file| self.trees[file].as_ref());
        let config = tree
            .and_then(|tree| tree.get("config"))
            .map(|entry| &entry.node.value);
        match config {
            Some(Value::Table(table)) => table.clone(),
            _ => Table::default(),
        }
    }
}

/// Checks every spec of a set, and the set as a whole.
///
/// Gives the architectures without mistakes, and all mistakes. Each is told once, however many specs inherit it.
pub fn load(set: &SpecSet) -> (Vec<Architecture>, Vec<Diagnostic>) {
    let trees = Trees::new(set);
    let prelude = trees.prelude(set);
    let mut diagnostics: Vec<Diagnostic> = trees.errors.iter().flatten().cloned().collect();
    let mut architectures = Vec::new();
    for stem in set.stems() {
        match set.find(stem).map(|file| one(set, &trees, &prelude, file)) {
            Some(Ok(architecture)) => architectures.push(architecture),
            Some(Err(errors)) => diagnostics.extend(errors),
            None => {}
        }
    }
    choice::rival_claims(set, &trees.trees, &architectures, &mut diagnostics);
    (architectures, once(diagnostics))
}

/// Checks one spec of a set.
///
/// # Errors
/// All mistakes in the file and in what it extends; one if the set has no such spec.
pub fn check_one(set: &SpecSet, stem: &str) -> Result<Architecture, Vec<Diagnostic>> {
    let Some(file) = set.find(stem).filter(|_| !stem.starts_with('_')) else {
        let known: Vec<&str> = set.stems().collect();
        let mut error = Diagnostic::error(format!("there is no spec `{stem}`"));
        error.help(format!("the specs are {}", known.join(", ")));
        return Err(vec![error]);
    };
    let trees = Trees::new(set);
    let prelude = trees.prelude(set);
    one(set, &trees, &prelude, file).map_err(|errors| {
        let concerned = ancestors(set, &trees, file);
        let syntax = concerned
            .into_iter()
            .flat_map(|file| trees.errors[file].clone());
        once(syntax.chain(errors).collect())
    })
}

/// The file, its ancestors as far as they can be read, and the prelude.
fn ancestors(set: &SpecSet, trees: &Trees, file: usize) -> BTreeSet<usize> {
    let mut files: BTreeSet<usize> = set.find(PRELUDE).into_iter().collect();
    let mut current = Some(file);
    while let Some(file) = current.filter(|file| files.insert(*file)) {
        let extends = trees.trees[file]
            .as_ref()
            .and_then(|tree| tree.get("extends"));
        let stem = extends.and_then(|entry| entry.node.text());
        current = stem.and_then(|stem| set.find(&stem.value));
    }
    files
}

fn one(
    set: &SpecSet,
    trees: &Trees,
    prelude: &Table,
    file: usize,
) -> Result<Architecture, Vec<Diagnostic>> {
    let merged = merge(set, &trees.trees, file)?;
    let own = trees.trees[file].as_ref().ok_or_else(Vec::new)?;
    let mut checker = Checker {
        set,
        merged: &merged,
        diagnostics: Vec::new(),
        formats: Vec::new(),
        names: Names::default(),
        reads: Reads::default(),
        hints: Cell::new(0),
    };
    let architecture = checker.architecture(prelude, own);
    let failed = checker
        .diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    match architecture {
        Some(architecture) if !failed => Ok(architecture),
        _ => Err(checker.diagnostics),
    }
}

/// The list without repetitions, in the order of files and lines.
fn once(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut told = HashSet::new();
    let place = |found: &Diagnostic| {
        let place = found.place.as_ref();
        place.map(|place| (place.path.clone(), place.at.line, place.at.column))
    };
    diagnostics.retain(|found| told.insert((place(found), found.message.clone())));
    diagnostics.sort_by_key(place);
    diagnostics
}

#[cfg(test)]
mod tests;
