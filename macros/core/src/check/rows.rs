//! ROWS: how the rows of a fused matrix lie.

use super::Checker;
use crate::diagnostic::one_of;
use crate::ir::{ExprKind, Groups, Rows, Type};
use crate::spec::{Node, Text};
use crate::types::{Scope, Want, is_number};

/// What a layout may hold.
pub(super) struct Layout {
    /// Parts that must occur.
    pub(super) needs: &'static [&'static str],
    /// Parts that may occur.
    pub(super) may: &'static [&'static str],
    /// Whether the group count may be a field or a `let`.
    pub(super) names: bool,
}

/// Of `[attn] qkv`.
pub(super) const QKV: Layout = Layout {
    needs: &["q", "k", "v"],
    may: &["gate"],
    names: true,
};

/// Of `gate_up`.
pub(super) const GATE_UP: Layout = Layout {
    needs: &["gate", "up"],
    may: &[],
    names: false,
};

const FORMS: &str = "the forms are \"a b\", \"(a b)*n\" and \"(a b)*\"";

impl<'a> Checker<'a> {
    /// A row layout; `None` is a mistake that was told.
    pub(super) fn rows(&mut self, node: &'a Node, layout: &Layout) -> Option<Rows> {
        let Some(text) = node.text() else {
            self.wrong_form("rows", node, "a row layout in a string")
                .help(FORMS);
            return None;
        };
        let (inside, start, count) = match self.split(text) {
            Some(found) => found,
            None => {
                self.error(node.span, format!("`{}` is no row layout", text.value))
                    .help(FORMS);
                return None;
            }
        };
        let parts = self.parts(text, inside, start, layout)?;
        let groups = match count {
            None => Groups::Blocks,
            Some("") => Groups::Interleaved,
            Some(count) => self.group_count(text, count, layout)?,
        };
        Some(Rows { parts, groups })
    }

    /// The parts, where they start, and the group count (`None`: no groups, `""`: fully interleaved).
    fn split<'t>(&self, text: &'t Text) -> Option<(&'t str, usize, Option<&'t str>)> {
        let value = text.value.trim();
        let start = text.value.len() - text.value.trim_start().len();
        let Some(inner) = value.strip_prefix('(') else {
            return (!value.contains([')', '*'])).then_some((value, start, None));
        };
        let (inside, count) = inner.split_once(')')?;
        let count = count.trim_start().strip_prefix('*')?.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        count
            .chars()
            .all(word)
            .then_some((inside, start + 1, Some(count)))
    }

    fn parts(
        &mut self,
        text: &Text,
        inside: &str,
        start: usize,
        layout: &Layout,
    ) -> Option<Vec<String>> {
        let known: Vec<&str> = layout.needs.iter().chain(layout.may).copied().collect();
        let mut parts: Vec<String> = Vec::new();
        for part in inside.split_whitespace() {
            let offset = start + (part.as_ptr() as usize - inside.as_ptr() as usize);
            let span = text.part(offset..offset + part.len());
            if !known.contains(&part) {
                let message = format!(
                    "there are no rows of `{part}` here; the parts are {}",
                    one_of(&known)
                );
                self.error(span, message).help(FORMS);
                return None;
            }
            if parts.iter().any(|found| found == part) {
                self.error(span, format!("`{part}` stands here twice"));
                return None;
            }
            parts.push(part.to_string());
        }
        for need in layout.needs {
            if !parts.iter().any(|found| found == need) {
                let message = format!("the rows of `{need}` are missing");
                self.error(text.span, message)
                    .help(format!("all of {} must be there", layout.needs.join(", ")));
                return None;
            }
        }
        Some(parts)
    }

    fn group_count(&mut self, text: &Text, count: &str, layout: &Layout) -> Option<Groups> {
        if let Ok(number) = count.parse::<u32>() {
            if number == 0 {
                self.error(text.span, "there is at least one group");
                return None;
            }
            let number = self.literal(ExprKind::Number(f64::from(number)), Type::Number, text.span);
            return Some(Groups::Count(number));
        }
        if !layout.names {
            let message = format!("the group count `{count}` must be an integer here");
            self.error(text.span, message)
                .help("write \"(gate up)*\" for rows that alternate");
            return None;
        }
        let (kind, ty) = self.look_up(count, Scope::LAYER, text.span)?;
        if !is_number(ty) {
            let message = format!(
                "the group count `{count}` is {}",
                crate::types::describe(ty)
            );
            self.error(text.span, message)
                .help(format!("it must be {}", Want::Number.describe()));
            return None;
        }
        Some(Groups::Count(self.literal(kind, ty, text.span)))
    }
}
