//! A spec file as a tree in which every key and every value knows where it stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::source::{Span, SpecSet};

/// More syntax errors than this in one file help nobody.
const MAX_SYNTAX_ERRORS: usize = 20;

/// Specs have a hundred lines at most; a limit keeps the time small that a hostile file can take.
const MAX_BYTES: usize = 1 << 16;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a value can be.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Text),
    Integer(f64),
    Float(f64),
    Bool(bool),
    /// TOML's dates, which no key takes.
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// A table, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// A string and how to find its characters in the file.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) span: Span,
    /// Where the first character stands, if the file spells the string without escapes.
    verbatim: Option<usize>,
}

impl Text {
    /// Place of a part of the string, given in bytes; of the whole string if escapes hide it.
    pub(crate) fn part(&self, range: Range<usize>) -> Span {
        match self.verbatim {
            Some(first) => Span {
                file: self.span.file,
                start: first + range.start,
                end: first + range.end,
            },
            None => self.span,
        }
    }
}

impl Node {
    pub(crate) fn text(&self) -> Option<&Text> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What this is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a bool",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

/// Parses one file of the set. All its syntax errors come at once.
pub(crate) fn parse(set: &SpecSet, file: usize) -> Result<Table, Vec<Diagnostic>> {
    let text = set.file_text(file);
    if text.len() > MAX_BYTES {
        let top = Span {
            file,
            start: 0,
            end: 0,
        };
        let message = format!(
            "a spec is no larger than {MAX_BYTES} bytes, and this file has {}",
            text.len()
        );
        return Err(vec![Diagnostic::at(set, top, message)]);
    }

    let (document, errors) = DeTable::parse_recoverable(text);
    let mut tree = Tree {
        set,
        file,
        text,
        errors: Vec::new(),
    };
    for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
        let range = error.span().unwrap_or(0..0);
        tree.error(range, format!("invalid TOML: {}", error.message()));
    }
    let table = tree.table(document.get_ref());
    match tree.errors {
        errors if errors.is_empty() => Ok(table),
        errors => Err(errors),
    }
}

struct Tree<'a> {
    set: &'a SpecSet,
    file: usize,
    text: &'a str,
    errors: Vec<Diagnostic>,
}

impl Tree<'_> {
    fn error(&mut self, range: Range<usize>, message: String) {
        let error = Diagnostic::at(self.set, self.span(range), message);
        self.errors.push(error);
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span {
            file: self.file,
            start: range.start,
            end: range.end,
        }
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let node = self.node(value);
            entries.push(Entry {
                key: key.get_ref().to_string(),
                key_span: self.span(key.span()),
                node,
            });
        }
        Table { entries }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let range = value.span();
        let span = self.span(range.clone());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(Text {
                value: text.to_string(),
                span,
                verbatim: self.verbatim(&range, text),
            }),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) => Value::Integer(number as f64),
                    Err(_) => {
                        self.error(range, "this integer has too many digits".to_string());
                        Value::Integer(0.0)
                    }
                }
            }
            DeValue::Float(float) => match float.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => {
                    self.error(range, "a number must be finite".to_string());
                    Value::Float(0.0)
                }
            },
            DeValue::Boolean(bool) => Value::Bool(*bool),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { span, value }
    }

    /// Offset of the content of a string literal that contains no escape.
    fn verbatim(&self, range: &Range<usize>, content: &str) -> Option<usize> {
        let literal = self.text.get(range.clone())?;
        let quotes = literal.len().checked_sub(content.len())?;
        // One or three quotes on each side; a newline behind the opening three is not part of the string.
        let open = match quotes {
            2 => 1,
            6 => 3,
            7 => 4,
            _ => return None,
        };
        let inside = literal.get(open..open + content.len())?;
        (inside == content).then_some(range.start + open)
    }
}

/// The comment lines at the top of a file, without `#`.
pub(crate) fn leading_comment(text: &str) -> Vec<String> {
    let comments = text.lines().map_while(|line| line.strip_prefix('#'));
    let lines = comments.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> (SpecSet, Result<Table, Vec<Diagnostic>>) {
        let set = SpecSet::new([("a", text)]);
        let tree = parse(&set, set.find("a").expect("given"));
        (set, tree)
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let (set, table) = parse_text("[attn]\nkind = \"gqa\" # c\nlet = { a = 'i + 1' }\n");
        let table = table.expect("valid");
        let attn = table
            .get("attn")
            .expect("attn")
            .node
            .table()
            .expect("table");
        assert_eq!(set.at(attn.get("kind").expect("kind").key_span).column, 1);
        let lets = attn.get("let").expect("let").node.table().expect("table");
        let text = lets.get("a").expect("a").node.text().expect("text");
        let at = set.at(text.part(4..5));
        assert_eq!((at.line, at.column, at.len), (3, 18, 1));
    }

    #[test]
    fn escapes_give_the_whole_string() {
        let (set, table) = parse_text("a = \"x \\\"y\\\"\"\n");
        let table = table.expect("valid");
        let text = table
            .get("a")
            .expect("a")
            .node
            .text()
            .expect("text")
            .clone();
        assert_eq!(text.value, "x \"y\"");
        assert_eq!(set.at(text.part(2..3)).column, 5);
    }

    #[test]
    fn several_syntax_errors_at_once() {
        let (_, table) = parse_text("a = \nb = 1\nc = [1, \nd = 3\n");
        assert!(table.expect_err("invalid").len() >= 2);
    }

    #[test]
    fn leading_comment_ends_with_the_first_other_line() {
        assert_eq!(leading_comment("# A.\n#\n#b\n\n# c\n"), ["A.", "", "b"]);
    }
}
