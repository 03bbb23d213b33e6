//! A model's chat template.

use std::collections::BTreeMap;
use std::time::SystemTime;

use minijinja::machinery::{eval, make_string_output};
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde_json::Value as Json;

use super::environment::{self, Raised};
use super::guard::Guard;
use super::{ChatError, MAX_MESSAGES, MAX_OUTPUT_BYTES, MAX_TEMPLATE_BYTES, Message, Rendered};

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    /// What is compiled. It is, for each conversation: that is a small part of rendering it.
    prepared: String,
    env: Environment<'static>,
}

/// What a template is told besides the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions<'a> {
    /// Ends the prompt with the beginning of the assistant's answer.
    pub add_generation_prompt: bool,
    /// The spelling of the token that begins a text.
    pub bos_token: Option<&'a str>,
    /// The spelling of the token that ends a text.
    pub eos_token: Option<&'a str>,
    /// Whether a reasoning model may think aloud, for templates that ask (`enable_thinking`).
    pub enable_thinking: Option<bool>,
    /// What templates take for today; `None` is today.
    pub now: Option<SystemTime>,
    /// Spellings of the control tokens, from [`Tokenizer::control_tokens`](crate::tokenizer::Tokenizer::control_tokens):
    /// they stay text inside messages.
    pub control_tokens: &'a [&'a str],
}

impl ChatTemplate {
    /// Compiles a template: the content of `chat_template.jinja` or of `tokenizer.chat_template` in GGUF metadata.
    ///
    /// # Errors
    /// Sources that are too large or no Jinja.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(ChatError::TooLarge(source.len()));
        }
        let prepared = environment::prepare(source);
        environment::compile(&prepared).map_err(|error| explain(&error))?;
        Ok(Self {
            source: source.to_string(),
            prepared,
            env: environment::environment(),
        })
    }

    /// The template in a `tokenizer_config.json`: `chat_template`, a string or a list of named ones of which `default` is
    /// taken.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if there is none; a malformed file; what [`ChatTemplate::new`] refuses.
    pub fn from_tokenizer_config(json: &[u8]) -> Result<Self, ChatError> {
        let malformed = |reason: String| ChatError::Malformed {
            file: "tokenizer_config.json",
            reason,
        };
        let file: Json =
            serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        match file.get("chat_template") {
            None | Some(Json::Null) => Err(ChatError::NoTemplate),
            Some(Json::String(source)) => Self::new(source),
            Some(Json::Array(named)) => {
                let field = |entry: &Json, key: &str| entry.get(key)?.as_str().map(str::to_string);
                let named: Option<BTreeMap<String, String>> = named
                    .iter()
                    .map(|entry| Some((field(entry, "name")?, field(entry, "template")?)))
                    .collect();
                let named = named.ok_or_else(|| {
                    malformed("an entry of `chat_template` lacks `name` or `template`".into())
                })?;
                match (named.get("default"), named.len()) {
                    (_, 0) => Err(ChatError::NoTemplate),
                    (Some(source), _) => Self::new(source),
                    (None, 1) => Self::new(named.values().next().map_or("", String::as_str)),
                    (None, _) => Err(ChatError::Ambiguous(
                        named.into_keys().collect::<Vec<_>>().join(", "),
                    )),
                }
            }
            Some(_) => Err(malformed(
                "`chat_template` is neither a string nor a list".into(),
            )),
        }
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes a conversation as the model was trained to read it.
    ///
    /// # Errors
    /// An empty conversation; roles that are no plain names; a template that refuses the conversation, fails, or goes over
    /// a limit.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, ChatError> {
        check(messages)?;
        let texts = messages
            .iter()
            .map(|message| message.content.as_str())
            .chain([self.source.as_str()]);
        let bytes: usize = texts.clone().map(str::len).sum();
        if bytes > MAX_OUTPUT_BYTES + MAX_TEMPLATE_BYTES {
            return Err(ChatError::OutputTooLarge { line: None });
        }
        let guard =
            Guard::new(options.control_tokens, texts).ok_or_else(|| ChatError::Template {
                line: None,
                message: "the messages use up all private-use characters".into(),
            })?;
        let fuel = environment::fuel(messages.len(), bytes);
        let prompt = environment::with_deep_stack(fuel, || {
            let variables = variables(messages, options, &guard);
            self.run(variables, fuel, options.now)
        })?;
        Ok(guard.remove(&prompt?))
    }

    /// Every value lives and dies in here, on the stack that is deep enough for it.
    fn run(
        &self,
        variables: BTreeMap<&str, Value>,
        fuel: u64,
        now: Option<SystemTime>,
    ) -> Result<String, ChatError> {
        let mut env = self.env.clone();
        env.set_fuel(Some(fuel));
        let now = now.unwrap_or_else(SystemTime::now);
        env.add_global("strftime_now", environment::strftime_now(now));
        let template = environment::compile(&self.prepared).map_err(|error| explain(&error))?;
        let mut prompt = String::new();
        let mut output = make_string_output(&mut prompt);
        let (root, escape) = (Value::from(variables), AutoEscape::None);
        let (instructions, blocks) = (&template.instructions, &template.blocks);
        eval(&env, instructions, root, blocks, &mut output, escape)
            .map_err(|error| explain(&error))?;
        if prompt.len() > MAX_OUTPUT_BYTES {
            return Err(ChatError::OutputTooLarge { line: None });
        }
        Ok(prompt)
    }
}

/// What templates may look at.
fn variables(
    messages: &[Message],
    options: &RenderOptions,
    guard: &Guard,
) -> BTreeMap<&'static str, Value> {
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| context! { role => message.role.as_str(), content => guard.protect(&message.content) })
        .collect();
    let mut variables: BTreeMap<&str, Value> = BTreeMap::new();
    variables.insert("messages", messages.into());
    variables.insert(
        "add_generation_prompt",
        options.add_generation_prompt.into(),
    );
    variables.insert("bos_token", options.bos_token.unwrap_or_default().into());
    variables.insert("eos_token", options.eos_token.unwrap_or_default().into());
    variables.insert("tools", Value::from(()));
    variables.insert("documents", Value::from(()));
    if let Some(enable) = options.enable_thinking {
        variables.insert("enable_thinking", enable.into());
    }
    variables
}

fn check(messages: &[Message]) -> Result<(), ChatError> {
    if messages.is_empty() {
        return Err(ChatError::Empty);
    }
    if messages.len() > MAX_MESSAGES {
        return Err(ChatError::TooManyMessages(messages.len()));
    }
    let is_name = |role: &str| {
        (1..=64).contains(&role.len())
            && role
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match messages.iter().find(|message| !is_name(&message.role)) {
        Some(message) => Err(ChatError::BadRole(message.role.chars().take(80).collect())),
        None => Ok(()),
    }
}

fn explain(error: &minijinja::Error) -> ChatError {
    let line = error.line();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return ChatError::Refused {
                line,
                message: message.clone(),
            };
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => ChatError::TooMuchWork { line },
        kind => {
            let message = error
                .detail()
                .map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
            ChatError::Template { line, message }
        }
    }
}
