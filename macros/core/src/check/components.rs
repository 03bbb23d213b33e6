//! Components: which tables they are, what kind, and what all kinds share.

use super::Checker;
use super::layers::Wiring;
use super::values::Section;
use crate::diagnostic::nearest;
use crate::ir::{At, Component, ComponentKind, Format, Name, PerFormat};
use crate::spec::{Entry, Node, Table};

/// The catalogue.
const KINDS: [(&str, Kind); 6] = [
    ("gqa", Kind::Gqa),
    ("glu", Kind::Glu),
    ("fc", Kind::Fc),
    ("moe", Kind::Moe),
    ("mla", Kind::Later),
    ("lightning", Kind::Later),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Gqa,
    Glu,
    Fc,
    Moe,
    /// Documented, not implemented.
    Later,
}

impl<'a> Checker<'a> {
    /// The components that some step calls. Own ones that none calls are mistakes, inherited ones vanish.
    pub(super) fn components(
        &mut self,
        root: &Section<'a>,
        wiring: &Wiring,
        own: &'a Table,
    ) -> Vec<Component> {
        let called = wiring.called(false);
        let mut checked = Vec::new();
        for entry in &root.table.entries {
            let key = entry.key.as_str();
            if Self::is_reserved_key(key) {
                continue;
            }
            if entry.node.table().is_none() {
                self.top_level_key(entry);
            } else if !called.contains(&key) && own.has(key) {
                self.idle_component(entry);
            }
        }
        for name in called {
            if let Some(entry) = root.get(name) {
                checked.extend(self.component(entry));
            }
        }
        checked
    }

    /// A table of the spec's own file that is neither a table of the language nor called by a step.
    fn idle_component(&mut self, entry: &'a Entry) {
        let known = [
            "config", "embed", "layers", "norm", "rope", "head", "storage", "root", "ignore",
        ];
        let typo = nearest(&entry.key, known).filter(|near| *near != entry.key);
        let conventional = ["attn", "mlp", "moe"].contains(&entry.key.as_str());
        match typo.filter(|_| !conventional) {
            Some(near) => {
                let error = self.error(
                    entry.key_span,
                    format!("unknown table [{}], and no step calls it", entry.key),
                );
                error.help(format!("did you mean [{near}]?"));
            }
            None => {
                self.uncalled(&format!("component [{}]", entry.key), &entry.key, entry);
                // Its other mistakes are worth telling too.
                self.component(entry);
            }
        }
    }

    fn component(&mut self, entry: &'a Entry) -> Option<Component> {
        let title = format!("[{}]", entry.key);
        let section = self.section(entry, &title)?;
        let kind = match self.kind(&section, entry)? {
            Kind::Gqa => ComponentKind::Gqa(Box::new(self.gqa(&section)?)),
            Kind::Glu => ComponentKind::Mlp(Box::new(self.mlp(&section, true)?)),
            Kind::Fc => ComponentKind::Mlp(Box::new(self.mlp(&section, false)?)),
            Kind::Moe => ComponentKind::Moe(Box::new(self.moe(&section)?)),
            Kind::Later => return None,
        };
        Some(Component {
            ident: entry.key.clone(),
            kind,
            at: self.set.at(entry.key_span),
        })
    }

    /// The kind that a table says, else the one that its name says.
    fn kind(&mut self, section: &Section<'a>, entry: &Entry) -> Option<Kind> {
        let (word, span) = match section.node("kind") {
            Some(node) => match node.text() {
                Some(text) => (text.value.as_str(), node.span),
                None => {
                    self.wrong_form("kind", node, "a word such as `gqa` or `glu`");
                    return None;
                }
            },
            None => (entry.key.as_str(), section.span),
        };
        let implemented: Vec<&str> = KINDS
            .iter()
            .filter(|(_, kind)| *kind != Kind::Later)
            .map(|(word, _)| *word)
            .collect();
        let found = KINDS
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, kind)| *kind);
        match found {
            Some(Kind::Later) => {
                let error = self.error(
                    span,
                    format!("the kind `{word}` is planned, and not implemented yet"),
                );
                error.help(format!("the kinds are {}", implemented.join(", ")));
                None
            }
            Some(kind) => Some(kind),
            None if section.has("kind") => {
                let error = self.error(span, format!("there is no kind `{word}`"));
                match nearest(word, implemented.iter().copied()) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help(format!("the kinds are {}", implemented.join(", "))),
                };
                None
            }
            None => {
                let error = self.missing(section, "kind");
                error.help(format!(
                    "the kinds are {}; only a table named like one needs no `kind`",
                    implemented.join(", ")
                ));
                None
            }
        }
    }

    /// The names of projections in one format: the component's own keys, else those of its sub-table.
    pub(super) fn projections(
        &mut self,
        section: &Section<'a>,
        keys: &[&'static str],
    ) -> Projections<'a> {
        let sub = PerFormat {
            hf: self.names_of(section, "hf", keys),
            gguf: self.names_of(section, "gguf", keys),
        };
        let mut own = Vec::new();
        for key in keys {
            if let Some(node) = section.node(key) {
                own.push((*key, node, self.name_form(key, node, &[])));
            }
        }
        Projections { own, sub }
    }

    /// A sub-table `hf = { .. }` or `gguf = { .. }` of plain names.
    fn names_of(
        &mut self,
        section: &Section<'a>,
        key: &str,
        keys: &[&'static str],
    ) -> Vec<(&'static str, &'a Node)> {
        let Some(sub) = section
            .has(key)
            .then(|| self.subsection(section, key))
            .flatten()
        else {
            return Vec::new();
        };
        self.known_keys(&sub, keys);
        let mut names = Vec::new();
        for key in keys {
            let Some(node) = sub.node(key) else { continue };
            if node.text().is_none() {
                self.wrong_form(key, node, "a plain name here: the sub-table is one format");
            } else if self.placeholders(node, &[]).is_some() {
                names.push((*key, node));
            }
        }
        names
    }

    /// Two spellings of one thing in one table are a mistake.
    pub(super) fn not_both(
        &mut self,
        section: &Section<'a>,
        fused: &str,
        parts: &[&str],
    ) -> Option<()> {
        let mut tables = vec![section.table];
        tables.extend(
            ["hf", "gguf"]
                .iter()
                .filter_map(|key| section.node(key)?.table()),
        );
        for table in tables {
            let part = parts.iter().find_map(|part| table.get(part));
            if let (Some(entry), Some(part)) = (table.get(fused), part) {
                let message = format!("{} has both `{fused}` and `{}`", section.title, part.key);
                let error = self.error(entry.key_span, message);
                error.help(format!(
                    "`{fused}` is one matrix instead of {}: remove one of the two",
                    parts.join(", ")
                ));
                return None;
            }
        }
        Some(())
    }
}

/// Names of projections, by format.
pub(super) struct Projections<'a> {
    own: Vec<(&'static str, &'a Node, Option<Name>)>,
    sub: PerFormat<Vec<(&'static str, &'a Node)>>,
}

impl<'a> Projections<'a> {
    /// The name of a projection in a format, and where it stands.
    pub(super) fn get(&self, key: &str, format: Format) -> Option<(String, &'a Node)> {
        if let Some((_, node, name)) = self.own.iter().find(|(own, ..)| *own == key) {
            let name = name.as_ref()?;
            return Some((name.names.get(format).clone()?, node));
        }
        let (_, node) = self.sub.get(format).iter().find(|(sub, _)| *sub == key)?;
        Some((node.text()?.value.clone(), node))
    }

    /// Whether a name was given that turned out wrong, which was told.
    pub(super) fn failed(&self) -> bool {
        self.own.iter().any(|(_, _, name)| name.is_none())
    }
}

impl<'a> Checker<'a> {
    /// A projection that every served format needs.
    pub(super) fn projection(
        &mut self,
        section: &Section<'a>,
        names: &Projections<'a>,
        key: &str,
    ) -> Option<Name> {
        let mut node = None;
        let found = self.per_format(|cx, format| match names.get(key, format) {
            Some((name, at)) => {
                node = node.or(Some(at));
                Some(name)
            }
            None => {
                cx.no_projection(section, names, key, format);
                None
            }
        });
        if found.hf.is_none() || found.gguf.is_none() {
            return None;
        }
        Some(Name {
            names: found,
            at: self.set.at(node?.span),
        })
    }

    pub(super) fn no_projection(
        &mut self,
        section: &Section<'a>,
        names: &Projections<'a>,
        key: &str,
        format: Format,
    ) {
        if names.failed() {
            return;
        }
        let given = [Format::Hf, Format::Gguf]
            .iter()
            .any(|format| names.get(key, *format).is_some());
        if given {
            let message = format!("{} has no `{key}` for {format}", section.title);
            let error = self.error(section.span, message);
            error.help(format!(
                "write it in the sub-table: `{format} = {{ {key} = \"..\" }}`"
            ));
        } else {
            self.missing(section, key);
        }
    }

    /// Where projections stand, for messages at run time: of each group the first that is given.
    pub(super) fn places(&self, names: &Projections<'a>, groups: &[&[&str]]) -> Vec<At> {
        let find = |key: &&str| {
            [Format::Hf, Format::Gguf]
                .iter()
                .find_map(|format| names.get(key, *format))
        };
        let of = |group: &&[&str]| {
            let (_, node) = group.iter().find_map(find)?;
            Some(self.set.at(node.span))
        };
        groups.iter().filter_map(of).collect()
    }
}
