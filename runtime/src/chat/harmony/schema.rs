//! JSON schema → TypeScript, as models were shown it in training. Odd places (a comment in the middle of a type, a comma on
//! a line of its own) are the format's, not ours.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Deeper schemas than this describe no tool, and would exhaust the stack.
pub(super) const MAX_DEPTH: usize = 64;

/// A schema nested deeper than [`MAX_DEPTH`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

/// The type that a schema describes.
pub(super) fn to_typescript(schema: &Value) -> Result<String, TooDeep> {
    type_of(schema, "", MAX_DEPTH)
}

fn type_of(schema: &Value, indent: &str, depth: usize) -> Result<String, TooDeep> {
    let depth = depth.checked_sub(1).ok_or(TooDeep)?;
    if let Some(variants) = array(schema, "oneOf") {
        return one_of(variants, indent, depth);
    }
    if let Some(types) = array(schema, "type") {
        let number = |name| if name == "integer" { "number" } else { name };
        let names: Vec<&str> = types.iter().filter_map(Value::as_str).map(number).collect();
        if !names.is_empty() {
            return Ok(names.join(" | "));
        }
    }
    Ok(match text(schema, "type") {
        Some("object") => object(schema, indent, depth)?,
        Some("string") => string(schema),
        Some("number" | "integer") => "number".into(),
        Some("boolean") => "boolean".into(),
        Some("array") => match schema.get("items") {
            Some(items) => type_of(items, indent, depth)? + "[]",
            None => "Array<any>".into(),
        },
        _ => "any".into(),
    })
}

/// A type of several variants, each on a line of its own.
fn one_of(variants: &[Value], indent: &str, depth: usize) -> Result<String, TooDeep> {
    let mut out = String::new();
    for variant in variants {
        let of = nullable(variant, type_of(variant, &format!("{indent}   "), depth)?);
        let comments = text(variant, "description").map(str::to_string);
        let default = variant
            .get("default")
            .map(|default| match default.as_str() {
                Some(text) if !is_enum(variant) => format!("default: \"{text}\""),
                // Unlike everywhere else, an enum's default is quoted here.
                _ => format!("default: {default}"),
            });
        let comments: Vec<String> = comments.into_iter().chain(default).collect();
        let _ = write!(out, "\n{indent} | {of}{}", trailing(&comments));
    }
    Ok(out)
}

fn string(schema: &Value) -> String {
    let values = array(schema, "enum").unwrap_or_default();
    let values: Vec<String> = values
        .iter()
        .filter_map(Value::as_str)
        .map(|value| format!("\"{value}\""))
        .collect();
    if values.is_empty() {
        "string".into()
    } else {
        values.join(" | ")
    }
}

fn object(schema: &Value, indent: &str, depth: usize) -> Result<String, TooDeep> {
    let mut out = String::new();
    if let Some(description) = text(schema, "description") {
        let _ = writeln!(out, "{indent}// {description}");
    }
    out.push_str("{\n");
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = array(schema, "required").unwrap_or_default();
    for (name, property) in properties.unwrap_or(&none) {
        let mark = if required
            .iter()
            .any(|required| required.as_str() == Some(name))
        {
            ""
        } else {
            "?"
        };
        comments_above(&mut out, property, indent);
        match array(property, "oneOf") {
            Some(variants) => {
                alternatives(
                    &mut out,
                    property,
                    variants,
                    &format!("{name}{mark}"),
                    indent,
                    depth,
                )?;
            }
            None => {
                let of = nullable(
                    property,
                    type_of(property, &format!("{indent}    "), depth)?,
                );
                let default = match property.get("oneOf") {
                    None => default_of(property),
                    Some(_) => None,
                };
                let default = default.map_or(String::new(), |text| format!(" // {text}"));
                let _ = writeln!(out, "{indent}{name}{mark}: {of},{default}");
            }
        }
    }
    let _ = write!(out, "{indent}}}");
    Ok(out)
}

/// Title, description and examples of a property.
fn comments_above(out: &mut String, property: &Value, indent: &str) {
    if let Some(title) = text(property, "title") {
        let _ = write!(out, "{indent}// {title}\n{indent}//\n");
    }
    if property.get("oneOf").is_none()
        && let Some(description) = text(property, "description")
    {
        let _ = writeln!(out, "{indent}// {description}");
    }
    let examples = array(property, "examples").unwrap_or_default();
    if !examples.is_empty() {
        let _ = writeln!(out, "{indent}// Examples:");
    }
    for example in examples.iter().filter_map(Value::as_str) {
        let _ = writeln!(out, "{indent}// - \"{example}\"");
    }
}

/// A property of several types.
fn alternatives(
    out: &mut String,
    property: &Value,
    variants: &[Value],
    name: &str,
    indent: &str,
    depth: usize,
) -> Result<(), TooDeep> {
    let description = text(property, "description");
    // A description that the first variant repeats is not shown at all.
    let first = variants
        .first()
        .and_then(|first| text(first, "description"));
    let above = description.filter(|description| first != Some(*description));
    if let Some(description) = above {
        let _ = writeln!(out, "{indent}// {description}");
    }
    if let Some(default) = default_of(property) {
        let _ = writeln!(out, "{indent}// {default}");
    }
    let _ = writeln!(out, "{indent}{name}:");
    for (index, variant) in variants.iter().enumerate() {
        let of = nullable(variant, type_of(variant, &format!("{indent}   "), depth)?);
        let own = text(variant, "description")
            .filter(|own| !(index == 0 && above.is_some()) && Some(*own) != description);
        let comments: Vec<String> = own
            .map(str::to_string)
            .into_iter()
            .chain(default_of(variant))
            .collect();
        let _ = writeln!(out, "{indent} | {of}{}", trailing(&comments));
    }
    let _ = writeln!(out, "{indent},");
    Ok(())
}

fn trailing(comments: &[String]) -> String {
    if comments.is_empty() {
        String::new()
    } else {
        format!(" // {}", comments.join(" "))
    }
}

fn nullable(schema: &Value, of: String) -> String {
    let nullable = schema.get("nullable").and_then(Value::as_bool) == Some(true);
    if nullable && !of.contains("null") {
        of + " | null"
    } else {
        of
    }
}

/// `default: "text"`, without quotes for one of an enum's values.
fn default_of(schema: &Value) -> Option<String> {
    let default = schema.get("default")?;
    Some(match default.as_str() {
        Some(text) if is_enum(schema) => format!("default: {text}"),
        Some(text) => format!("default: \"{text}\""),
        None => format!("default: {default}"),
    })
}

fn is_enum(schema: &Value) -> bool {
    array(schema, "enum").is_some_and(|values| !values.is_empty())
}

fn array<'a>(schema: &'a Value, key: &str) -> Option<&'a [Value]> {
    schema.get(key)?.as_array().map(Vec::as_slice)
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key)?.as_str()
}
