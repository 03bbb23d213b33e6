//! Choosing the architecture of a checkpoint and loading it.

use std::collections::BTreeMap;

use super::error::NnError;
use super::{Logits, Name, Step, size};
use crate::config::{ConfigFile, Format};
use crate::device::Backend;
use crate::weights::{
    Checkpoint, Mode, Plan, Quant, Random, Source, Weights, judge, recipe_dtypes,
};
use crate::{Error, Result};

/// Whether a checkpoint with these settings is of an architecture.
pub type Condition = fn(&ConfigFile) -> Result<bool>;

/// How a checkpoint says what it is, and what loads it: one per spec.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// Stem of the spec.
    pub name: &'static str,
    /// Values of config.json's `architectures`.
    pub hf: &'static [&'static str],
    /// Values of GGUF's `general.architecture`.
    pub gguf: &'static [&'static str],
    /// Formats it reads.
    pub formats: &'static [Format],
    /// Alternative prefixes of all names, `[safetensors, GGUF]`.
    pub roots: [&'static [&'static str]; 2],
    /// Patterns of tensors that may be in the file, `[safetensors, GGUF]`.
    pub ignore: [&'static [&'static str]; 2],
    /// What a checkpoint must fulfil beside its name, `[safetensors, GGUF]`.
    pub condition: [Option<Condition>; 2],
    /// The token embedding, which tells the root.
    pub tokens: Name,
    /// The longest sequence that the checkpoint was made for, where its spec knows.
    pub max_positions: Option<fn(&ConfigFile) -> Result<f64>>,
    /// Loads the model.
    pub load: fn(&mut Weights) -> Result<Box<dyn Model>>,
}

/// A model in memory.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// Runs the step's tokens and gives the logits that it asks for.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or the device fails.
    fn forward(&self, step: &mut Step) -> Result<Logits>;
}

impl Architecture {
    /// Whether this architecture is called so in this format.
    fn is_called(&self, name: &str, format: Format) -> bool {
        let names = match format {
            Format::Hf => self.hf,
            Format::Gguf => self.gguf,
        };
        self.formats.contains(&format) && names.contains(&name)
    }

    /// Whether the checkpoint fulfils the condition; `None` if there is none. A setting that is missing makes it false.
    fn fits(&self, config: &ConfigFile) -> Result<Option<bool>> {
        let Some(condition) = self.condition[usize::from(config.format() == Format::Gguf)] else {
            return Ok(None);
        };
        match condition(config) {
            Ok(fits) => Ok(Some(fits)),
            Err(Error::Config(error)) if error.is_missing() => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    fn run(
        &self,
        config: &ConfigFile,
        source: Source,
        mode: Mode,
    ) -> Result<(Box<dyn Model>, Plan)> {
        let dtypes = match source {
            Source::Random(Random { quant, seed }) if quant != Quant::Bf16 => {
                let plain = Source::Random(Random::from(seed));
                let weights = Weights::new(self, config, plain, Mode::Planning)?;
                let embedding = weights.full_name(self.tokens)? + ".weight";
                let plan = self.run(config, plain, Mode::Planning)?.1;
                recipe_dtypes(quant, &plan.tensors, &embedding)
            }
            _ => BTreeMap::new(),
        };
        let mut weights = Weights::with_dtypes(self, config, source, mode, dtypes)?;
        let model = (self.load)(&mut weights)?;
        Ok((model, weights.finish()))
    }

    /// The longest sequence, in tokens, that the checkpoint was made for; `None` if it does not say.
    ///
    /// # Errors
    /// If the setting is of another type or out of range.
    pub fn max_positions(&self, config: &ConfigFile) -> Result<Option<usize>> {
        let Some(max_positions) = self.max_positions else {
            return Ok(None);
        };
        match max_positions(config) {
            Ok(tokens) => Ok(Some(size("max_positions", tokens)?)),
            Err(Error::Config(error)) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All that a checkpoint of this architecture would read and hold, and what is wrong with it. Reads no weights.
    ///
    /// # Errors
    /// If a setting is missing or out of range.
    pub fn plan(&self, config: &ConfigFile, source: Source) -> Result<Plan> {
        Ok(self.run(config, source, Mode::Planning)?.1)
    }

    /// A model with random weights that the seed (or seed and types) determines.
    ///
    /// # Errors
    /// If a setting is missing or out of range, or there is no memory for the weights.
    pub fn random(
        &self,
        config: &ConfigFile,
        random: impl Into<Random>,
        backend: impl Into<Backend>,
    ) -> Result<(Box<dyn Model>, Plan)> {
        let source = Source::Random(random.into());
        let plan = self.plan(config, source)?;
        let (model, _) = self.run(config, source, Mode::Loading(backend.into()))?;
        Ok((model, plan))
    }
}

/// The architecture that serves a checkpoint with these settings: the first name that one of them knows decides, and one
/// whose condition holds goes before one without.
///
/// # Errors
/// If none does, or two claim it.
pub fn select<'a>(
    architectures: &'a [Architecture],
    config: &ConfigFile,
) -> Result<&'a Architecture> {
    let format = config.format();
    let names = config.architectures();
    let knows = |name: &str| {
        architectures
            .iter()
            .any(|architecture| architecture.is_called(name, format))
    };
    let Some(name) = names.iter().find(|name| knows(name)) else {
        return Err(unknown(architectures, &names, format));
    };
    let (mut certain, mut plain) = (Vec::new(), Vec::new());
    for architecture in architectures
        .iter()
        .filter(|architecture| architecture.is_called(name, format))
    {
        match architecture.fits(config)? {
            Some(true) => certain.push(architecture),
            None => plain.push(architecture),
            Some(false) => {}
        }
    }
    let claims = if certain.is_empty() { plain } else { certain };
    match claims[..] {
        [only] => Ok(only),
        [] => Err(NnError::Architecture(format!(
            "{} says `{name}`, but in a variant that no spec serves: the `when` of each is false",
            config.name()
        ))
        .into()),
        _ => {
            let specs: Vec<_> = claims
                .iter()
                .map(|claim| format!("{}.toml", claim.name))
                .collect();
            let message = format!(
                "{} says `{name}`, which {} claim",
                config.name(),
                specs.join(" and ")
            );
            Err(
                NnError::Architecture(format!("{message}; make their `when` exclude each other"))
                    .into(),
            )
        }
    }
}

fn unknown(architectures: &[Architecture], names: &[&str], format: Format) -> Error {
    let mut known: Vec<&str> = architectures
        .iter()
        .filter(|architecture| architecture.formats.contains(&format))
        .flat_map(|architecture| match format {
            Format::Hf => architecture.hf,
            Format::Gguf => architecture.gguf,
        })
        .copied()
        .collect();
    known.sort_unstable();
    known.dedup();
    let said = if names.is_empty() {
        "no architecture".into()
    } else {
        format!("`{}`", names.join("`, `"))
    };
    NnError::Architecture(format!(
        "the checkpoint says {said}, which no spec serves; known are {}. To add one, write model-spec/<name>.toml, as \
         model-spec/README.md shows, and build again",
        known.join(", ")
    ))
    .into()
}

/// Plans the whole checkpoint, refuses it with one report of all that is wrong, else loads it.
///
/// # Errors
/// If the checkpoint does not fit the architecture, or a setting is missing or out of range.
pub fn load_model(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
    backend: impl Into<Backend>,
) -> Result<(Box<dyn Model>, Plan)> {
    let source = Source::Checkpoint(checkpoint);
    let plan = judge(architecture.plan(checkpoint.config(), source)?, checkpoint)?;
    let (model, _) =
        architecture.run(checkpoint.config(), source, Mode::Loading(backend.into()))?;
    Ok((model, plan))
}
