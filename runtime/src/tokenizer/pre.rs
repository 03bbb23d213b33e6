//! `tokenizer.ggml.pre`: how each byte-level vocabulary cuts text into words.
//!
//! GGUF files name the rule instead of carrying it. The patterns are the published ones of the tokenizers they come from.

use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::TokenizerError;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

/// What a name stands for.
struct Rule {
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// Each digit is a word.
    digits: bool,
    /// A word that is in the vocabulary is a token without looking at merges.
    ignore_merges: bool,
    nfc: bool,
    /// Whether texts begin with the bos token unless the file says otherwise.
    add_bos: bool,
}

const PLAIN: Rule = Rule {
    names: &[],
    patterns: &[GPT2],
    digits: false,
    ignore_merges: false,
    nfc: false,
    add_bos: false,
};

const RULES: [Rule; 9] = [
    Rule {
        names: &[
            "gpt-2", "gpt2", "phi-2", "olmo", "mpt", "jais", "mellum", "a.x-4.0",
        ],
        ..PLAIN
    },
    Rule {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        digits: true,
        ..PLAIN
    },
    Rule {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
        ],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    Rule {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
        patterns: &[LLAMA3],
        ..PLAIN
    },
    Rule {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
        ],
        patterns: &[QWEN2],
        nfc: true,
        ..PLAIN
    },
    Rule {
        names: &["gpt-4o", "o200k", "llama4"],
        patterns: &[O200K],
        ignore_merges: true,
        ..PLAIN
    },
    Rule {
        names: &["tekken"],
        patterns: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    Rule {
        names: &["deepseek-v3"],
        patterns: &DEEPSEEK3,
        ..PLAIN
    },
    Rule {
        names: &["default"],
        patterns: &DEFAULT,
        ..PLAIN
    },
];

/// The parts of a tokenizer that a `pre` name decides.
pub(super) struct PreTokenization {
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) ignore_merges: bool,
    pub(super) add_bos: bool,
}

/// The rule of a `tokenizer.ggml.pre`.
///
/// # Errors
/// A name that is not known: another rule would tokenize almost right, and the model would be almost broken.
pub(super) fn named(name: &str) -> Result<PreTokenization, TokenizerError> {
    let Some(rule) = RULES.iter().find(|rule| rule.names.contains(&name)) else {
        let known: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
        return Err(TokenizerError::Unsupported {
            what: "tokenizer.ggml.pre",
            name: name.to_string(),
            known: known.join(", "),
        });
    };
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    if rule.digits {
        steps.push(Digits::new(true).into());
    }
    for pattern in rule.patterns {
        let split = Split::new(
            SplitPattern::Regex(pattern.to_string()),
            SplitDelimiterBehavior::Isolated,
            false,
        );
        steps.push(
            split
                .map_err(|error| TokenizerError::Encode(error.to_string()))?
                .into(),
        );
    }
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(PreTokenization {
        pre_tokenizer: Sequence::new(steps).into(),
        normalizer: rule.nfc.then(|| NFC.into()),
        ignore_merges: rule.ignore_merges,
        add_bos: rule.add_bos,
    })
}
