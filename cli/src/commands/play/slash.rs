//! `/commands` of a conversation: their grammar, apart from what they do.

use std::path::PathBuf;

/// What a line that starts with `/` asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Slash {
    Help,
    /// A new system message; without text the present one is shown.
    System(Option<String>),
    /// One sampling setting: name and value.
    Set(String, String),
    /// Settings and conversation.
    Show,
    /// Forget the conversation.
    Clear,
    /// Answer the last message again.
    Retry,
    Save(PathBuf),
    Load(PathBuf),
    /// Tokens, speed, memory.
    Stats,
    /// What the model wrote last, markers and all.
    Raw,
    Exit,
}

/// Command, arguments, what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/help", "", "this list"),
    (
        "/system",
        "[text]",
        "set the system message (and start over), or show it",
    ),
    (
        "/set",
        "<name> <value>",
        "change a setting: temperature, top-k, top-p, min-p, repetition-penalty, presence-penalty, frequency-penalty, seed, max-tokens, stop; of models that reason, reasoning-effort and reasoning (show, fold, hide)",
    ),
    ("/show", "", "settings and the conversation so far"),
    ("/clear", "", "forget the conversation"),
    ("/retry", "", "answer the last message again"),
    ("/save", "<file>", "write the conversation to a JSON file"),
    ("/load", "<file>", "go on with a saved conversation"),
    (
        "/raw",
        "",
        "what the model really wrote last, markers included",
    ),
    ("/stats", "", "tokens, speed and memory"),
    ("/exit", "", "leave (also Ctrl-D)"),
];

impl Slash {
    /// Parses a line that starts with `/`. The error is for the person who typed it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let file = |rest: &str| match rest {
            "" => Err(format!("{command} needs a file name: {command} chat.json")),
            name => Ok(PathBuf::from(name)),
        };
        let alone = |slash: Self| match rest {
            "" => Ok(slash),
            _ => Err(format!("{command} takes nothing after it")),
        };
        match command {
            "/help" | "/?" => alone(Self::Help),
            "/system" => Ok(Self::System((!rest.is_empty()).then(|| rest.to_string()))),
            "/set" => match rest.split_once(char::is_whitespace) {
                Some((name, value)) => Ok(Self::Set(name.to_string(), value.trim().to_string())),
                None => Err("/set needs a name and a value: /set temperature 0.7".into()),
            },
            "/show" => alone(Self::Show),
            "/clear" => alone(Self::Clear),
            "/retry" => alone(Self::Retry),
            "/save" => file(rest).map(Self::Save),
            "/load" => file(rest).map(Self::Load),
            "/raw" => alone(Self::Raw),
            "/stats" => alone(Self::Stats),
            "/exit" | "/quit" | "/bye" => alone(Self::Exit),
            _ => Err(format!(
                "there is no {command}; /help lists the commands (start the line with a space to send it as text)"
            )),
        }
    }
}

/// The text of `/help`.
pub(super) fn help() -> String {
    let mut text = String::new();
    for (command, arguments, meaning) in COMMANDS {
        let left = format!("{command} {arguments}");
        text.push_str(&format!("  {left:<24} {meaning}\n"));
    }
    text.push_str("  \"\"\"                      begin and end a message of several lines (or end a line with \\)\n");
    text.push_str("  Ctrl-C                   stop the answer; the conversation goes on\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_parse() {
        assert_eq!(
            Slash::parse("/set temperature 0.7"),
            Ok(Slash::Set("temperature".into(), "0.7".into()))
        );
        assert_eq!(
            Slash::parse("/set stop a b"),
            Ok(Slash::Set("stop".into(), "a b".into()))
        );
        assert_eq!(
            Slash::parse("/system You are terse."),
            Ok(Slash::System(Some("You are terse.".into())))
        );
        assert_eq!(Slash::parse("/system"), Ok(Slash::System(None)));
        assert_eq!(
            Slash::parse("/save my chat.json"),
            Ok(Slash::Save("my chat.json".into()))
        );
        assert_eq!(Slash::parse("/bye"), Ok(Slash::Exit));
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(
            Slash::parse("/set temperature")
                .is_err_and(|text| text.contains("/set temperature 0.7"))
        );
        assert!(Slash::parse("/nonsense").is_err_and(|text| text.contains("/help")));
        assert!(Slash::parse("/save").is_err());
        assert!(Slash::parse("/clear everything").is_err());
    }

    #[test]
    fn every_listed_command_exists() {
        for (command, arguments, _) in COMMANDS {
            let line = if arguments.starts_with('<') {
                format!("{command} a 1")
            } else {
                command.to_string()
            };
            assert!(Slash::parse(&line).is_ok(), "{line}");
        }
    }
}
