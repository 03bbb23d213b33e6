//! The section of a message that lists tools.

use serde::Deserialize;

use super::message::{Tool, ToolNamespace};
use super::schema::to_typescript;
use crate::chat::ChatError;

/// A function as OpenAI's API wraps it, or by itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Wrapped { function: Tool },
    Bare(Tool),
}

impl Tool {
    /// Reads a JSON list of functions, each as OpenAI's API has it (`{"type": "function", "function": {…}}`) or only the
    /// inner object.
    ///
    /// # Errors
    /// [`ChatError::BadTools`]: no such list, or names that are not 1 to 64 letters, digits, `_` or `-`, or occur twice.
    pub fn list_from_json(json: &str) -> Result<Vec<Self>, ChatError> {
        let bad = |reason: String| ChatError::BadTools(reason);
        let listed: Vec<Listed> = serde_json::from_str(json).map_err(|error| {
            bad(format!(
                "{error}; a list of {{\"name\": …, \"description\": …, \"parameters\": …}} is wanted"
            ))
        })?;
        let tools: Vec<Self> = listed
            .into_iter()
            .map(|listed| match listed {
                Listed::Wrapped { function } | Listed::Bare(function) => function,
            })
            .collect();
        for (index, tool) in tools.iter().enumerate() {
            let name = tool.name.as_str();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
                return Err(bad(format!(
                    "{:?} cannot be a tool's name: 1 to 64 letters, digits, `_` or `-`",
                    name.chars().take(80).collect::<String>()
                )));
            }
            if tools[..index].iter().any(|other| other.name == name) {
                return Err(bad(format!("two tools are called `{name}`")));
            }
        }
        Ok(tools)
    }
}

/// `# Tools`, then each namespace.
pub(super) fn section<'a>(
    namespaces: impl Iterator<Item = &'a ToolNamespace>,
) -> Result<String, ChatError> {
    let mut sections = vec!["# Tools".to_string()];
    for namespace in namespaces {
        sections.push(one(namespace)?);
    }
    Ok(sections.join("\n\n"))
}

fn one(namespace: &ToolNamespace) -> Result<String, ChatError> {
    let ToolNamespace {
        name,
        description,
        tools,
    } = namespace;
    let mut lines = vec![format!("## {name}\n")];
    let comment = if tools.is_empty() { "" } else { "// " };
    let described = description.as_deref().unwrap_or_default().lines();
    lines.extend(described.map(|line| format!("{comment}{line}")));
    if tools.is_empty() {
        return Ok(lines.join("\n"));
    }
    lines.push(format!("namespace {name} {{\n"));
    for tool in tools {
        lines.extend(tool.description.lines().map(|line| format!("// {line}")));
        let arguments = match &tool.parameters {
            None => String::new(),
            Some(schema) => {
                let of = to_typescript(schema)
                    .map_err(|_| ChatError::SchemaTooDeep(tool.name.clone()))?;
                format!("_: {of}")
            }
        };
        lines.push(format!("type {} = ({arguments}) => any;\n", tool.name));
    }
    lines.push(format!("}} // namespace {name}"));
    Ok(lines.join("\n"))
}
