//! `extends`: one table out of a spec and its ancestors.

use crate::diagnostic::{Diagnostic, nearest};
use crate::ir::Format;
use crate::source::SpecSet;
use crate::spec::{Entry, Node, Table, Value};

/// A spec laid over its ancestors.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    /// The whole table.
    pub(crate) table: Table,
    /// Files it was read from: itself, then its ancestors.
    pub(crate) files: Vec<usize>,
    /// The formats of each of these files: what the columns of its name lists mean.
    pub(crate) columns: Vec<Vec<Format>>,
}

impl Merged {
    /// Formats of the file in which a value stands.
    pub(crate) fn columns_of(&self, file: usize) -> &[Format] {
        let index = self.files.iter().position(|&known| known == file);
        index.map_or(&[], |index| &self.columns[index])
    }

    /// The file of the spec itself.
    pub(crate) fn own(&self) -> usize {
        self.files[0]
    }
}

/// Merges the spec in `file` with its ancestors. `trees` holds what each file of the set says, `None` where it is no TOML
/// (its own errors are told elsewhere, so the list of errors may be empty).
pub(crate) fn merge(
    set: &SpecSet,
    trees: &[Option<Table>],
    file: usize,
) -> Result<Merged, Vec<Diagnostic>> {
    let files = ancestry(set, trees, file)?;
    let mut table = Table::default();
    let mut formats: Vec<Format> = Vec::new();
    let mut columns = Vec::new();
    for &ancestor in files.iter().rev() {
        let Some(child) = &trees[ancestor] else {
            return Err(Vec::new());
        };
        if let Some(entry) = child.get("formats") {
            formats = read_formats(&entry.node);
        }
        columns.push(formats.clone());
        make_room(&mut table, child);
        lay_over(&mut table, child);
    }
    columns.reverse();
    Ok(Merged {
        table,
        files,
        columns,
    })
}

/// The file and its ancestors, nearest first.
fn ancestry(
    set: &SpecSet,
    trees: &[Option<Table>],
    file: usize,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut files = vec![file];
    let mut current = file;
    while let Some(extends) = trees[current].as_ref().and_then(|tree| tree.get("extends")) {
        let span = extends.node.span;
        let error = |message: String| Diagnostic::at(set, span, message);
        let Some(stem) = extends.node.text().map(|text| text.value.as_str()) else {
            let message = format!(
                "`extends` is the name of a spec, not {}",
                extends.node.describe()
            );
            return Err(vec![error(message)]);
        };
        let Some(parent) = set.find(stem).filter(|_| !stem.starts_with('_')) else {
            let mut error = error(format!("there is no spec `{stem}` to extend"));
            match nearest(stem, set.stems()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!(
                    "`extends` names a file beside this one, `{stem}.toml`, without `.toml`"
                )),
            };
            return Err(vec![error]);
        };
        if let Some(first) = files.iter().position(|&known| known == parent) {
            let circle: Vec<&str> = files[first..]
                .iter()
                .chain([&parent])
                .map(|&file| set.stem(file))
                .collect();
            let mut error = error(format!(
                "`extends` runs in a circle: {}",
                circle.join(" → ")
            ));
            error.help("one of them must stand on its own");
            return Err(vec![error]);
        }
        files.push(parent);
        current = parent;
    }
    Ok(files)
}

/// The formats a list names; what is wrong with it is told when the merged spec is checked.
fn read_formats(node: &Node) -> Vec<Format> {
    let Value::List(items) = &node.value else {
        return Vec::new();
    };
    let words = items.iter().filter_map(Node::text);
    words
        .filter_map(|text| Format::named(&text.value))
        .collect()
}

/// Removes what the child's `attn` and `mlp` replace by another kind or another spelling.
fn make_room(base: &mut Table, child: &Table) {
    for name in ["attn", "mlp"] {
        let Some(new) = child.get(name).and_then(|entry| entry.node.table()) else {
            continue;
        };
        let Some(entry) = base.entries.iter_mut().find(|entry| entry.key == name) else {
            continue;
        };
        let Value::Table(old) = &mut entry.node.value else {
            continue;
        };
        if kind(new).is_some_and(|kind_now| kind_now != kind(old).unwrap_or(name)) {
            old.entries
                .retain(|entry| name == "mlp" && entry.key == "act");
        }
        let replaces: [(&str, &[&str]); 3] = [
            ("qkv", &["q", "k", "v"]),
            ("gate_up", &["gate", "up"]),
            ("q", &["qkv", "rows"]),
        ];
        for (key, gone) in replaces {
            if new.has(key) {
                old.entries
                    .retain(|entry| !gone.contains(&entry.key.as_str()));
            }
        }
    }
}

fn kind(table: &Table) -> Option<&str> {
    let text = table.get("kind")?.node.text()?;
    Some(&text.value)
}

/// Lays the child over the base, one level deep.
fn lay_over(base: &mut Table, child: &Table) {
    for entry in &child.entries {
        let old = base.entries.iter_mut().find(|old| old.key == entry.key);
        match (old, &entry.node.value) {
            (Some(old), Value::Table(new)) if old.node.table().is_some() => {
                old.key_span = entry.key_span;
                if let Value::Table(table) = &mut old.node.value {
                    new.entries.iter().for_each(|entry| put(table, entry));
                }
            }
            _ => put(base, entry),
        }
    }
}

fn put(table: &mut Table, entry: &Entry) {
    match table.entries.iter_mut().find(|old| old.key == entry.key) {
        Some(old) => *old = entry.clone(),
        None => table.entries.push(entry.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse;

    fn merged(files: &[(&str, &str)], stem: &str) -> Result<Merged, Vec<Diagnostic>> {
        let set = SpecSet::new(files.iter().copied());
        let trees: Vec<_> = (0..set.len()).map(|file| parse(&set, file).ok()).collect();
        merge(&set, &trees, set.find(stem).expect("given"))
    }

    fn keys(merged: &Merged, table: &str) -> Vec<String> {
        let table = merged.table.get(table).and_then(|entry| entry.node.table());
        table
            .expect("a table")
            .entries
            .iter()
            .map(|entry| entry.key.clone())
            .collect()
    }

    #[test]
    fn one_level_deep() {
        let base = "[attn]\nkind = 'gqa'\nwindow = 1\n[layers]\nlet = { a = '1', b = '2' }\n";
        let child = "extends = 'base'\n[attn]\nwindow = 2\nclip = 3\n[layers]\nlet = { c = '3' }\n";
        let merged = merged(&[("base", base), ("child", child)], "child").expect("fine");
        assert_eq!(keys(&merged, "attn"), ["kind", "window", "clip"]);
        let layers = merged
            .table
            .get("layers")
            .and_then(|entry| entry.node.table())
            .expect("table");
        let lets = layers
            .get("let")
            .and_then(|entry| entry.node.table())
            .expect("table");
        assert_eq!(lets.entries.len(), 1);
    }

    #[test]
    fn another_kind_empties_the_table_but_mlp_keeps_act() {
        let base = "[attn]\nkind = 'gqa'\nq = 'q'\n[mlp]\nkind = 'glu'\nact = 'silu'\ngate = 'g'\n";
        let child = "extends = 'base'\n[attn]\nkind = 'mla'\n[mlp]\nkind = 'fc'\nup = 'u'\n";
        let merged = merged(&[("base", base), ("child", child)], "child").expect("fine");
        assert_eq!(keys(&merged, "attn"), ["kind"]);
        assert_eq!(keys(&merged, "mlp"), ["act", "kind", "up"]);
    }

    #[test]
    fn the_same_kind_again_empties_nothing() {
        let base = "[mlp]\nkind = 'glu'\ngate = 'g'\n";
        let child = "extends = 'base'\n[mlp]\nkind = 'glu'\n";
        let merged = merged(&[("base", base), ("child", child)], "child").expect("fine");
        assert_eq!(keys(&merged, "mlp"), ["kind", "gate"]);
    }

    #[test]
    fn another_spelling_replaces_the_old() {
        let base =
            "[attn]\nq = 'q'\nk = 'k'\nv = 'v'\n[mlp]\ngate = 'g'\nup = 'u'\n[other]\nq = 'q'\n";
        let child = "extends = 'base'\n[attn]\nqkv = 'c'\nrows = 'q k v'\n[mlp]\ngate_up = 'gu'\n[other]\nqkv = 'c'\n";
        let grandchild = "extends = 'child'\n[attn]\nq = 'q2'\n";
        let files = [("base", base), ("child", child), ("grandchild", grandchild)];
        let child = merged(&files, "child").expect("fine");
        assert_eq!(keys(&child, "attn"), ["qkv", "rows"]);
        assert_eq!(keys(&child, "mlp"), ["gate_up"]);
        assert_eq!(keys(&child, "other"), ["q", "qkv"]);
        assert_eq!(
            keys(&merged(&files, "grandchild").expect("fine"), "attn"),
            ["q"]
        );
    }

    #[test]
    fn columns_belong_to_the_file() {
        let base = "formats = ['hf', 'gguf']\n";
        let files = [
            ("base", base),
            ("child", "extends = 'base'\nformats = ['hf']\n"),
            ("grandchild", "extends = 'child'\n"),
        ];
        let merged = merged(&files, "grandchild").expect("fine");
        let counts: Vec<usize> = merged.columns.iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn circles_and_missing_parents_are_errors() {
        let circle = merged(&[("a", "extends = 'b'\n"), ("b", "extends = 'a'\n")], "a");
        insta::assert_snapshot!(circle.expect_err("a circle")[0].render_plain(), @"
        `extends` runs in a circle: a → b → a
         --> model-spec/b.toml:1:11
          |
        1 | extends = 'a'
          |           ^^^
          = help: one of them must stand on its own
        ");
        let missing = merged(&[("llama", ""), ("b", "extends = 'lama'\n")], "b");
        insta::assert_snapshot!(missing.expect_err("no parent")[0].render_plain(), @"
        there is no spec `lama` to extend
         --> model-spec/b.toml:1:11
          |
        1 | extends = 'lama'
          |           ^^^^^^
          = help: did you mean `llama`?
        ");
    }
}
