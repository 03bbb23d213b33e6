//! The top level of a spec, and the order in which its tables are checked.

use super::Checker;
use super::names::{Names, Reads};
use super::values::{Section, columns};
use crate::diagnostic::nearest;
use crate::ir::{Architecture, Expr, Field, Format, Let, PerFormat};
use crate::spec::{Node, Table, Value, leading_comment};
use crate::types::{Scope, Want};

/// The language version.
const VERSION: f64 = 1.0;

/// Keys of the top level that are no tables of components.
const KEYS: [&str; 14] = [
    "spec",
    "formats",
    "architectures",
    "gguf",
    "extends",
    "when",
    "root",
    "ignore",
    "config",
    "embed",
    "layers",
    "norm",
    "rope",
    "head",
];

/// `storage` is a table of tables that nothing but `moe` names.
pub(super) const STORAGE: &str = "storage";

impl<'a> Checker<'a> {
    /// Checks the whole spec; `None` or an incomplete result only together with errors.
    pub(super) fn architecture(
        &mut self,
        prelude: &'a Table,
        own: &'a Table,
    ) -> Option<Architecture> {
        let file = self.merged.own();
        let root = self.root();
        self.preamble(&root)?;
        let layers = self.required_table(&root, "layers");
        self.declare(prelude, &root, layers.as_ref());
        let defaults = self.defaults();
        let when = self.when(&root);
        self.storages(own);
        let roots = self.lists_per_format(&root, "root", &[""]);
        let ignore = self.lists_per_format(&root, "ignore", &["i", "num_layers"]);
        let embed = self
            .required_table(&root, "embed")
            .and_then(|section| self.embed(&section));
        let norm = self.required_table(&root, "norm");
        let head = self
            .required_table(&root, "head")
            .and_then(|section| self.head(&section));
        let wiring = layers
            .as_ref()
            .and_then(|layers| self.layers(layers, &root, norm.as_ref()));
        let parts = wiring.as_ref().map(|wiring| {
            let norms = self.norm_instances(norm.as_ref(), wiring, own);
            (norms, self.components(&root, wiring, own))
        });
        let positions = embed
            .as_ref()
            .is_some_and(|embed| embed.positions.is_some());
        self.read_always(&root, positions);
        let (fields, lets) = self.used(&defaults);
        let hf_names = self.claims(&root, "architectures", Format::Hf);
        let gguf_names = self.claims(&root, "gguf", Format::Gguf);
        let (wiring, (norms, components)) = (wiring?, parts?);
        let architecture = Architecture {
            stem: self.set.stem(file).to_string(),
            doc: leading_comment(self.set.file_text(file)),
            files: self.files(),
            formats: self.formats.clone(),
            hf_names,
            gguf_names,
            when,
            roots: roots.map_empty(|| vec![String::new()]),
            ignore,
            fields,
            lets,
            embed: embed?,
            layer_prefix: wiring.prefix.clone(),
            steps: wiring.steps.clone(),
            norms,
            components,
            head: head?,
        };
        self.rival_names(&architecture, &wiring);
        Some(architecture)
    }

    fn root(&self) -> Section<'a> {
        Section {
            table: &self.merged.table,
            title: "the spec".to_string(),
            span: self.top(),
        }
    }

    /// The version, the file's name and the formats.
    fn preamble(&mut self, root: &Section<'a>) -> Option<()> {
        self.version(root);
        self.stem(self.merged.own());
        self.read_formats(root)
    }

    /// Declares fields and `let`s.
    fn declare(&mut self, prelude: &'a Table, root: &Section<'a>, layers: Option<&Section<'a>>) {
        let config = self.optional_table(root, "config");
        let fields = self.fields(prelude, config.as_ref());
        self.names = Names::new(fields);
        if let Some(layers) = layers {
            self.lets(layers);
        }
    }

    /// The spec's own file and its ancestors.
    fn files(&self) -> Vec<String> {
        let files = self.merged.files.iter();
        files
            .map(|&file| format!("{}.toml", self.set.stem(file)))
            .collect()
    }

    fn version(&mut self, root: &Section<'a>) {
        let Some(node) = root.node("spec") else {
            let help = "the version of the language: `spec = 1`";
            self.missing(root, "spec").help(help);
            return;
        };
        match &node.value {
            Value::Integer(version) if *version == VERSION => {}
            Value::Integer(_) => {
                let error = self.error(node.span, "this version of the language is not known");
                error.help("this Inferno reads `spec = 1`");
            }
            _ => {
                self.wrong_form("spec", node, "the version of the language, 1");
            }
        }
    }

    /// The stem names a module.
    fn stem(&mut self, file: usize) {
        let stem = self.set.stem(file);
        let first = stem
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase());
        let rest = stem
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !(first && rest) {
            let error = self.error(
                self.top(),
                format!("`{stem}` cannot be the name of a module"),
            );
            error.help("name the file with lower-case letters, digits and `_`, a letter first: `phi3.toml`");
        }
    }

    fn read_formats(&mut self, root: &Section<'a>) -> Option<()> {
        let Some(node) = root.node("formats") else {
            self.missing(root, "formats")
                .help("write `formats = [\"hf\", \"gguf\"]`: the columns of every name list");
            return None;
        };
        let mut formats = Vec::new();
        for item in self.strings("formats", node) {
            let format = self.one_word(
                "formats",
                item,
                &[("hf", Format::Hf), ("gguf", Format::Gguf)],
            )?;
            if formats.contains(&format) {
                self.error(item.span, format!("`{format}` stands here twice"));
                return None;
            }
            formats.push(format);
        }
        if formats.is_empty() {
            self.error(node.span, "`formats` is empty")
                .help("it holds `hf`, `gguf` or both");
            return None;
        }
        self.formats = formats;
        Some(())
    }

    pub(super) fn optional_table(&mut self, root: &Section<'a>, name: &str) -> Option<Section<'a>> {
        self.section(root.get(name)?, &format!("[{name}]"))
    }

    fn required_table(&mut self, root: &Section<'a>, name: &str) -> Option<Section<'a>> {
        if root.has(name) {
            return self.optional_table(root, name);
        }
        let error = self.error(root.span, format!("the table [{name}] is missing"));
        let keys = root.table.entries.iter().map(|entry| entry.key.as_str());
        if let Some(near) = nearest(name, keys.filter(|key| !KEYS.contains(key))) {
            error.help(format!("is [{near}] meant to be [{name}]?"));
        }
        None
    }

    /// Condition of each format.
    fn when(&mut self, root: &Section<'a>) -> PerFormat<Option<Expr>> {
        let Some(node) = root.node("when") else {
            return PerFormat::both(None);
        };
        match columns(node) {
            Some(columns) => self.per_format(|cx, format| {
                let node = (*columns.get(format))?;
                cx.condition(node)
            }),
            None => PerFormat::both(self.condition(node)),
        }
    }

    fn condition(&mut self, node: &'a Node) -> Option<Expr> {
        match node.text() {
            Some(text) => self.expression(text, Scope::ONCE, Want::Bool),
            None => {
                self.wrong_form(
                    "when",
                    node,
                    "a condition in a string, or a table per format of these",
                );
                None
            }
        }
    }

    /// `root`, `ignore`: a table per format of lists of strings.
    fn lists_per_format(
        &mut self,
        root: &Section<'a>,
        key: &str,
        placeholders: &[&str],
    ) -> PerFormat<Vec<String>> {
        let Some(node) = root.node(key) else {
            return PerFormat::both(Vec::new());
        };
        let Some(columns) = columns(node) else {
            let error = self.wrong_form(key, node, "a table per format of lists");
            error.help(format!("write `{key} = {{ hf = [\"..\"] }}`"));
            return PerFormat::both(Vec::new());
        };
        self.per_format(|cx, format| {
            let Some(node) = *columns.get(format) else {
                return Vec::new();
            };
            let strings = cx.strings(key, node);
            for string in &strings {
                cx.placeholders(string, placeholders);
            }
            let texts = strings.iter().filter_map(|node| node.text());
            texts.map(|text| text.value.clone()).collect()
        })
    }

    /// The names that the spec claims in a format.
    fn claims(&mut self, root: &Section<'a>, key: &str, format: Format) -> Vec<String> {
        let Some(node) = root.node(key) else {
            return Vec::new();
        };
        let strings = self.strings(key, node);
        if !self.serves(format) {
            return Vec::new();
        }
        let texts = strings.iter().filter_map(|node| node.text());
        texts.map(|text| text.value.clone()).collect()
    }

    /// Fields that the generated code reads without an expression that names them.
    fn read_always(&mut self, root: &Section<'a>, positions: bool) {
        let mut names = vec!["num_layers", "hidden_size", "vocab_size"];
        if root.has("rope") {
            names.extend(["layer_types", "max_positions"]);
        } else if positions {
            names.push("max_positions");
        }
        for name in names {
            let field = self.names.field(name);
            self.reads.fields.extend(field);
        }
    }

    /// The fields and lets that something reads, directly or through others. Tells mistakes in the defaults.
    fn used(&mut self, defaults: &[super::defaults::FieldInfo]) -> (Vec<Field>, Vec<Let>) {
        let mut all = Reads::default();
        let mut open: Vec<Reads> = vec![self.reads.clone()];
        while let Some(reads) = open.pop() {
            for field in reads.fields {
                if all.fields.insert(field) {
                    open.push(defaults[field].reads.clone());
                }
            }
            for index in reads.lets {
                if all.lets.insert(index) {
                    open.push(self.names.lets[index].reads.clone());
                }
            }
        }
        for (index, info) in defaults.iter().enumerate() {
            if all.fields.contains(&index) || self.own_field(index) {
                self.diagnostics.extend(info.errors.iter().cloned());
            }
        }
        let fields = all
            .fields
            .iter()
            .map(|&index| self.ir_field(index, defaults[index].default.clone()));
        let lets = all.lets.iter().filter_map(|&index| {
            let decl = &self.names.lets[index];
            Some(Let {
                name: decl.name.to_string(),
                expr: decl.expr.clone()?,
                per_layer: decl.per_layer,
            })
        });
        (fields.collect(), lets.collect())
    }

    /// Complains about a top-level key that is neither a key of the language nor a table.
    pub(super) fn top_level_key(&mut self, entry: &crate::spec::Entry) {
        let known = KEYS.iter().copied().chain([STORAGE]);
        let near = nearest(&entry.key, known);
        let error = self.error(
            entry.key_span,
            format!("unknown key `{}` at the top of the spec", entry.key),
        );
        match near {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!(
                "its keys are {}; any table beside them is a component",
                KEYS.join(", ")
            )),
        };
    }

    pub(super) fn is_reserved_key(key: &str) -> bool {
        KEYS.contains(&key) || key == STORAGE
    }
}

impl PerFormat<Vec<String>> {
    /// Puts a default in the place of empty lists.
    fn map_empty(self, default: impl Fn() -> Vec<String>) -> Self {
        let or = |list: Vec<String>| if list.is_empty() { default() } else { list };
        Self {
            hf: or(self.hf),
            gguf: or(self.gguf),
        }
    }
}
