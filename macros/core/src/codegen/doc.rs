//! Doc comments of generated items.

use proc_macro2::TokenStream;
use quote::quote;

use super::Idents;
use crate::ir::{BinaryOp, Expr, ExprKind, Field, FieldDefault, Function, Name, PerFormat, Value};

/// Width of doc comments, without indentation.
const WIDTH: usize = 98;

/// `text` as doc comment, a line each.
pub(super) fn doc(text: &str) -> TokenStream {
    let lines = text.lines().flat_map(wrap);
    let lines = lines.map(|line| {
        if line.is_empty() {
            line
        } else {
            format!(" {line}")
        }
    });
    quote!(#(#[doc = #lines])*)
}

/// Lines of at most [`WIDTH`], broken where no code is.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut code = false;
    for word in line.split(' ') {
        let Some(last) = lines.last_mut() else {
            continue;
        };
        if !code && !last.is_empty() && last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
        code ^= word.matches('`').count() % 2 == 1;
    }
    lines
}

/// Free text of a spec, harmless to rustdoc.
pub(super) fn escape(text: &str) -> String {
    let mut code = false;
    let mut escaped = String::new();
    for c in text.chars() {
        code ^= c == '`';
        if !code && matches!(c, '[' | ']' | '<' | '>' | '*' | '_') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Where a field is found and what holds otherwise.
pub(super) fn field(idents: &Idents, field: &Field) -> String {
    let mut places = Vec::new();
    if idents.hf && !field.hf_keys.is_empty() {
        let keys: Vec<_> = field.hf_keys.iter().map(|key| format!("`{key}`")).collect();
        places.push(keys.join(" or "));
    }
    if let Some(key) = field.gguf_key.as_ref().filter(|_| idents.gguf) {
        places.push(if idents.hf {
            format!("in GGUF `{key}`")
        } else {
            format!("`{key}`")
        });
    }
    let default = match &field.default {
        PerFormat {
            hf: None,
            gguf: None,
        } => None,
        PerFormat { hf, gguf } => {
            let (hf, gguf) = (default(hf.as_ref()), default(gguf.as_ref()));
            match (idents.hf, idents.gguf) {
                (true, true) if hf != gguf => Some(format!("{hf} (GGUF: {gguf})")),
                (false, _) => Some(gguf),
                _ => Some(hf),
            }
        }
    };
    places.extend(default.map(|default| {
        if places.is_empty() {
            default
        } else {
            format!("else {default}")
        }
    }));
    let mut text = places.join(", ");
    if let Some(first) = text.get(..1).map(str::to_ascii_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}

fn default(default: Option<&FieldDefault>) -> String {
    match default {
        None => "none".into(),
        Some(FieldDefault::RowsOfEmbedding) => "the rows of the embedding".into(),
        Some(FieldDefault::Expr(expr)) => format!("`{}`", spec(expr)),
        Some(FieldDefault::List(items)) => {
            let items: Vec<_> = items.iter().map(spec).collect();
            format!("`[{}]`", items.join(", "))
        }
    }
}

/// Tensor names in a doc comment, in one format's spelling: whole, or of several the last segments.
pub(super) fn spellings<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| &name.names).collect();
    let mut spelled: Vec<_> = names.iter().filter_map(|name| name.hf.as_deref()).collect();
    if spelled.is_empty() {
        spelled = names
            .iter()
            .filter_map(|name| name.gguf.as_deref())
            .collect();
    }
    let several = spelled.len() > 1;
    let short = |name: &str| match name.rsplit_once('.') {
        Some((_, last)) if several => format!("`{last}`"),
        _ => format!("`{name}`"),
    };
    spelled
        .into_iter()
        .map(short)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A value as a symbol in a shape: a field's name, a number, else `fallback`.
pub(super) fn symbol(value: &Value, fallback: &str) -> String {
    match &value.hf.kind {
        ExprKind::Field(name) | ExprKind::Let(name) => name.clone(),
        ExprKind::Number(number) => decimal(*number),
        _ => fallback.into(),
    }
}

/// An expression in the language's own words.
pub(super) fn spec(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number(number) => decimal(*number),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Str(text) => format!("\"{text}\""),
        ExprKind::None => "none".into(),
        ExprKind::Config => "config".into(),
        ExprKind::Layer => "i".into(),
        ExprKind::Field(name) | ExprKind::Let(name) => name.clone(),
        ExprKind::Neg(inner) => format!("-{}", operand(inner)),
        ExprKind::Not(inner) => format!("!{}", operand(inner)),
        ExprKind::Binary(op, a, b) => format!("{} {} {}", left(*op, a), sign(*op), operand(b)),
        ExprKind::If(condition, yes, no) => format!(
            "if {} {{ {} }} else {{ {} }}",
            spec(condition),
            spec(yes),
            spec(no)
        ),
        ExprKind::Index(list, index) => format!("{}[{}]", operand(list), spec(index)),
        ExprKind::Call(function, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(spec).collect();
            format!("{}({})", name(*function), arguments.join(", "))
        }
    }
}

/// `1e-6`, `10000`, `0.5`
fn decimal(number: f64) -> String {
    if number.fract() == 0.0 {
        number.to_string()
    } else {
        format!("{number:?}")
    }
}

/// With parentheses, unless it is one piece.
fn operand(expr: &Expr) -> String {
    if matches!(expr.kind, ExprKind::Binary(..) | ExprKind::If(..)) {
        format!("({})", spec(expr))
    } else {
        spec(expr)
    }
}

/// The left side of `op`: a chain of the same level needs no parentheses.
fn left(op: BinaryOp, expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary(inner, ..) if level(*inner) >= level(op) => spec(expr),
        _ => operand(expr),
    }
}

fn level(op: BinaryOp) -> usize {
    match op {
        BinaryOp::Or => 0,
        BinaryOp::And => 1,
        BinaryOp::Add | BinaryOp::Sub => 3,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 4,
        _ => 2,
    }
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Or => "||",
        BinaryOp::And => "&&",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::Ge => ">=",
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Rem => "%",
    }
}

fn name(function: Function) -> &'static str {
    match function {
        Function::Sqrt => "sqrt",
        Function::Ln => "ln",
        Function::Floor => "floor",
        Function::Min => "min",
        Function::Max => "max",
        Function::Len => "len",
        Function::Contains => "contains",
        Function::At => "at",
    }
}
