//! `tojson`, as transformers defines it: Python's `json.dumps(x, ensure_ascii=False)`, without escapes for HTML.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value, filters};

/// The filter. `indent` is a number of spaces; `ensure_ascii` and `separators` are accepted with their defaults.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if sort_keys == Some(true) || ensure_ascii == Some(true) {
        let message = "tojson: sort_keys=true and ensure_ascii=true are not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let indent = indent.filter(|indent| !indent.is_none());
    if indent
        .as_ref()
        .and_then(Value::as_i64)
        .is_some_and(|indent| indent > 64)
    {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson: indent is at most 64",
        ));
    }
    let json = filters::tojson(value, indent, Kwargs::from_iter([] as [(&str, Value); 0]))?;
    Ok(Value::from(without_html_escapes(
        json.as_str().unwrap_or_default(),
    )))
}

/// minijinja writes `<`, `>`, `&` and `'` as `\u003c` and so on; a prompt is no web page.
fn without_html_escapes(json: &str) -> String {
    const ESCAPES: [(&str, char); 4] = [
        ("u003c", '<'),
        ("u003e", '>'),
        ("u0026", '&'),
        ("u0027", '\''),
    ];
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        if let Some((code, c)) = ESCAPES.iter().find(|(code, _)| escape.starts_with(code)) {
            out.push(*c);
            rest = &escape[code.len()..];
        } else {
            // The escaped character goes along, so that `\\u003c`, a backslash and text, stays what it is.
            let length = escape.chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[at..at + 1 + length]);
            rest = &escape[length..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_escapes_for_html_go() {
        assert_eq!(
            without_html_escapes(r#""\u003ca\u003e \u0026 \u0027 \\u003c \n \u00e9""#),
            r#""<a> & ' \\u003c \n \u00e9""#
        );
    }
}
