//! Which scaling the frequencies have, and with what parameters.

use std::f64::consts::PI;
use std::mem::replace;
use std::sync::Arc;

use super::frequencies::{Base, Divisors, Frequencies, powers};
use super::{Param, RopeOptions, Scaling};
use crate::Result;
use crate::config::{ConfigFile, Format, Table};
use crate::nn::NnError;
use crate::nn::error::setting;

/// A scaling's parameters: a table of the file or of the spec, and what fills its gaps.
pub(super) struct Settings<'a> {
    config: &'a ConfigFile,
    table: Option<Table<'a>>,
    params: Vec<(&'static str, Param)>,
    theta: f64,
    max_positions: Option<Result<f64>>,
    reverse: bool,
}

/// What GGUF calls a parameter of config.json.
fn gguf_key(key: &str) -> Option<&str> {
    Some(match key {
        "original_max_position_embeddings" => "original_context_length",
        "beta_fast" => "yarn_beta_fast",
        "beta_slow" => "yarn_beta_slow",
        "rope_type" => "type",
        "factor" | "type" | "attn_factor" => key,
        _ => return None,
    })
}

impl<'a> Settings<'a> {
    pub(super) fn find(options: &mut RopeOptions, config: &'a ConfigFile) -> Result<Self> {
        let gaps = std::mem::take(&mut options.scaling_gaps);
        let theta = replace(&mut options.theta, Ok(0.0));
        let mut settings = Self {
            config,
            table: None,
            params: gaps,
            theta: 0.0,
            max_positions: options.max_positions.take(),
            reverse: options.reverse,
        };
        let parameters = (config.format() == Format::Hf)
            .then(|| config.table("rope_parameters"))
            .flatten();
        if let Some(nested) = parameters.as_ref().filter(|table| table.holds_tables()) {
            let layer_type = options.layer_type.take().unwrap_or_else(|| {
                setting("rope_parameters has settings for each type of layer, but the spec has no field `layer_types`")
            })?;
            let Some(table) = nested.table(&layer_type) else {
                return setting(format!(
                    "rope_parameters has no settings for layers of type `{layer_type}`"
                ));
            };
            settings.theta = match table.float("rope_theta")?.filter(|theta| *theta != 0.0) {
                Some(theta) => theta,
                None => theta?,
            };
            settings.table = Some(table);
            return settings.checked();
        }
        settings.theta = theta?;
        if options.scaling == Scaling::Config {
            let table = match config.format() {
                Format::Hf => config.table("rope_scaling").or(parameters),
                Format::Gguf => config.table("rope.scaling"),
            };
            settings.table = table;
            if settings.own_kind()?.is_none() {
                settings.table = None;
                // The spec's default table comes before what fills gaps.
                let mut params = std::mem::take(&mut options.scaling_default);
                params.append(&mut settings.params);
                settings.params = params;
            }
        }
        settings.checked()
    }

    fn checked(self) -> Result<Self> {
        if self.theta > 0.0 && self.theta.is_finite() {
            Ok(self)
        } else {
            setting(format!(
                "the base of the rotation (rope_theta) is {}, but must be positive",
                self.theta
            ))
        }
    }

    /// The kind that the file's table says.
    fn own_kind(&self) -> Result<Option<Arc<str>>> {
        let Some(table) = &self.table else {
            return Ok(None);
        };
        let kind = match table.str("rope_type")?.filter(|kind| !kind.is_empty()) {
            Some(kind) => Some(kind),
            None => table.str("type")?,
        };
        Ok(kind.filter(|kind| !kind.is_empty()))
    }

    fn kind(&self) -> Result<Arc<str>> {
        if let Some(kind) = self.own_kind()? {
            return Ok(kind);
        }
        for key in ["rope_type", "type"] {
            if let Some(Param::Word(kind)) = self.param(key) {
                return Ok(kind.into());
            }
        }
        Ok("default".into())
    }

    fn param(&self, key: &str) -> Option<Param> {
        self.params
            .iter()
            .find(|param| param.0 == key)
            .map(|param| param.1)
    }

    /// The table that has a key, and how it spells it.
    fn spelt<'k>(&self, key: &'k str) -> Option<(&Table<'a>, &'k str)> {
        let table = self.table.as_ref()?;
        match self.config.format() {
            Format::Hf => Some((table, key)),
            Format::Gguf => Some((table, gguf_key(key)?)),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        if let Some((table, key)) = self.spelt(key)
            && let Some(number) = table.float(key)?
        {
            return Ok(Some(number));
        }
        Ok(match self.param(key) {
            Some(Param::Number(number)) => Some(number),
            _ => None,
        })
    }

    /// A number for which 0 means absent.
    fn nonzero(&self, key: &str) -> Result<Option<f64>> {
        Ok(self.number(key)?.filter(|number| *number != 0.0))
    }

    fn needed(&self, key: &str) -> Result<f64> {
        match self.number(key)? {
            Some(number) => Ok(number),
            None => setting(format!(
                "rope scaling `{}` needs `{key}`, which the config file lacks",
                self.kind()?
            )),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        if let Some((table, key)) = self.spelt(key)
            && let Some(flag) = table.bool(key)?
        {
            return Ok(Some(flag));
        }
        Ok(match self.param(key) {
            Some(Param::Bool(flag)) => Some(flag),
            _ => None,
        })
    }

    /// Numbers by which frequencies are divided: one for each pair.
    fn divisors(&self, key: &str, pairs: usize) -> Result<Vec<f32>> {
        let stored = match self.spelt(key) {
            Some((table, key)) => table.floats(key)?,
            None => None,
        };
        let numbers = match (stored, self.param(key)) {
            (Some(numbers), _) => numbers,
            (None, Some(Param::Numbers(numbers))) => numbers.into(),
            _ => {
                return setting(format!(
                    "rope scaling `{}` needs the list `{key}`",
                    self.kind()?
                ));
            }
        };
        if numbers.len() == pairs {
            Ok(numbers.iter().map(|number| *number as f32).collect())
        } else {
            setting(format!(
                "`{key}` of the rope scaling has {} numbers for {pairs} pairs",
                numbers.len()
            ))
        }
    }

    fn max_positions(&mut self) -> Result<f64> {
        let positions = self
            .max_positions
            .take()
            .unwrap_or_else(|| setting("the spec has no field `max_positions`"))?;
        self.max_positions = Some(Ok(positions));
        if positions > 0.0 {
            Ok(positions)
        } else {
            setting("the number of positions must be positive")
        }
    }

    /// The context before it was extended.
    fn original(&self) -> Result<Option<f64>> {
        if let Some(original) = self.nonzero("original_max_position_embeddings")? {
            return Ok(Some(original));
        }
        Ok(match self.param("original") {
            Some(Param::Number(original)) => Some(original),
            _ => None,
        })
    }

    /// Frequencies of `dim` rotated dimensions; `divisors` are those of the file's tensors.
    pub(super) fn frequencies(
        mut self,
        dim: usize,
        head_dim: usize,
        divisors: Divisors,
    ) -> Result<Frequencies> {
        let kind = self.kind()?;
        // A GGUF file says by its tensors that it is longrope, not by a type.
        let kind = if matches!(divisors, Divisors::ShortLong { .. }) {
            "longrope".into()
        } else {
            kind
        };
        let mut fixed = powers(self.theta, dim, dim.div_ceil(2));
        let mut attention = 1.0;
        let reverse = self.reverse;
        let base = match &*kind {
            "default" | "none" => Base::Fixed(fixed),
            "linear" => {
                let factor = self.needed("factor")? as f32;
                fixed.iter_mut().for_each(|f| *f /= factor);
                Base::Fixed(fixed)
            }
            "dynamic" => self.dynamic(dim)?,
            "llama3" => Base::Fixed(self.llama3(fixed)?),
            "yarn" => {
                attention = self.yarn_attention()?;
                Base::Fixed(self.yarn(fixed, dim)?)
            }
            "longrope" => return self.longrope(fixed, divisors),
            "proportional" => {
                let factor = self.number("factor")?.unwrap_or(1.0) as f32;
                let mut all = powers(self.theta, head_dim, dim.div_ceil(2));
                all.iter_mut().for_each(|f| *f /= factor);
                all.resize(head_dim / 2, 0.0);
                Base::Fixed(all)
            }
            _ => {
                return Err(NnError::UnknownWord {
                    what: "rope scaling",
                    word: kind.to_string(),
                    known: "default, linear, dynamic, llama3, yarn, longrope, proportional".into(),
                }
                .into());
            }
        };
        Frequencies::new(base, divisors, attention, reverse)
    }

    fn dynamic(&mut self, dim: usize) -> Result<Base> {
        if dim <= 2 {
            return setting(format!(
                "rope scaling `dynamic` is not defined for {dim} rotated dimensions"
            ));
        }
        if let Some(alpha) = self.nonzero("alpha")? {
            let theta = self.theta * alpha.powf(dim as f64 / (dim as f64 - 2.0));
            return Ok(Base::Fixed(powers(theta, dim, dim.div_ceil(2))));
        }
        let factor = self.needed("factor")?;
        Ok(Base::Dynamic {
            theta: self.theta,
            factor,
            positions: self.max_positions()?,
            dim,
        })
    }

    fn llama3(&self, frequencies: Vec<f32>) -> Result<Vec<f32>> {
        let [factor, low, high] = [
            self.needed("factor")?,
            self.needed("low_freq_factor")?,
            self.needed("high_freq_factor")?,
        ];
        let Some(original) = self.original()? else {
            return self
                .needed("original_max_position_embeddings")
                .map(|_| frequencies);
        };
        let scaled = |f: f32| {
            let wavelength = 2.0 * PI / f64::from(f);
            if wavelength > original / low {
                return f / factor as f32;
            }
            if wavelength < original / high {
                return f;
            }
            let smooth = ((original / wavelength - low) / (high - low)) as f32;
            (1.0 - smooth) * f / factor as f32 + smooth * f
        };
        Ok(frequencies.into_iter().map(scaled).collect())
    }

    fn yarn(&mut self, frequencies: Vec<f32>, dim: usize) -> Result<Vec<f32>> {
        let factor = self.needed("factor")? as f32;
        let original = match self.original()? {
            Some(original) => original,
            None => self.max_positions()?,
        };
        let theta = self.theta;
        let corrected =
            |turns: f64| dim as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let mut low = corrected(self.nonzero("beta_fast")?.unwrap_or(32.0));
        let mut high = corrected(self.nonzero("beta_slow")?.unwrap_or(1.0));
        if self.flag("truncate")?.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let scaled = |(j, f): (usize, f32)| {
            let ramp = (((j as f64 - low) / (high - low)) as f32).clamp(0.0, 1.0);
            f * (1.0 - ramp) + f / factor * ramp
        };
        Ok(frequencies.into_iter().enumerate().map(scaled).collect())
    }

    fn yarn_attention(&self) -> Result<f64> {
        if let Some(attention) = self.nonzero("attention_factor")? {
            return Ok(attention);
        }
        let factor = self.needed("factor")?;
        let scale = |k: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * k * factor.ln() + 1.0
            }
        };
        let attention = match (self.nonzero("mscale")?, self.nonzero("mscale_all_dim")?) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        };
        // GGUF's own factor multiplies what the formula gives.
        Ok(attention * self.gguf_attention()?.unwrap_or(1.0))
    }

    fn gguf_attention(&self) -> Result<Option<f64>> {
        match self.config.format() {
            Format::Hf => Ok(None),
            Format::Gguf => self.config.top_level().float("rope.scaling.attn_factor"),
        }
    }

    fn longrope(mut self, frequencies: Vec<f32>, divisors: Divisors) -> Result<Frequencies> {
        let original = match self.original()? {
            Some(original) => Some(original),
            None => self.config.top_level().float(match self.config.format() {
                Format::Hf => "original_max_position_embeddings",
                Format::Gguf => "rope.scaling.original_context_length",
            })?,
        };
        let Some(original) = original.filter(|original| *original > 0.0) else {
            return setting(
                "rope scaling `longrope` needs `original_max_position_embeddings`, which the config file lacks",
            );
        };
        let (short, long) = match divisors {
            Divisors::ShortLong { short, long, .. } => (short, long),
            _ => {
                let pairs = frequencies.len();
                (
                    self.divisors("short_factor", pairs)?,
                    self.divisors("long_factor", pairs)?,
                )
            }
        };
        let given = match self.nonzero("attention_factor")? {
            Some(given) => Some(given),
            None => self.gguf_attention()?.filter(|given| *given != 0.0),
        };
        let attention = match given {
            Some(given) => given,
            None => {
                let stretch = self.max_positions()? / original;
                if stretch > 1.0 {
                    (1.0 + stretch.ln() / original.ln()).sqrt()
                } else {
                    1.0
                }
            }
        };
        let divisors = Divisors::ShortLong {
            original,
            short,
            long,
        };
        Frequencies::new(Base::Fixed(frequencies), divisors, attention, self.reverse)
    }
}
