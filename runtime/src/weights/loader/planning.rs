//! Planning: what is asked for, and what of it the checkpoint has.

use std::collections::BTreeMap;

use super::{Elements, Reads, Shared, Source, Weights};
use crate::Result;
use crate::config::{ConfigFile, Format};
use crate::nn::Architecture;
use crate::weights::plan::{LoadError, Plan, PlannedTensor, Problem};
use crate::weights::{Checkpoint, TensorInfo, names, random, spellings};

/// Tensors that a model may ask for: a damaged config file must not take forever.
const MAX_TENSORS: usize = 2_000_000;

/// Problems after which a checkpoint is given up: it is another model.
const MAX_PROBLEMS: usize = 20_000;

/// Missing tensors for which the nearest name is searched.
const MAX_SEARCHES: usize = 200;

impl Weights<'_> {
    /// Records a request and compares it with the file's header.
    pub(super) fn plan(
        &self,
        name: String,
        shapes: &[&[usize]],
        elements: Elements,
        at: &'static str,
    ) -> Result<()> {
        let mut state = self.shared.state.borrow_mut();
        if !state.asked.insert(name.clone()) {
            return Ok(());
        }
        let shape = shapes.first().copied().unwrap_or_default().to_vec();
        let mut tensor = PlannedTensor {
            name,
            shape,
            at,
            dtype: None,
            bytes: 0,
            token_bytes: 0,
            parameters: elements.parameters(shapes.first().copied().unwrap_or_default()),
        };
        match self.shared.source {
            Source::Checkpoint(checkpoint) => {
                let info = checkpoint.tensor(&tensor.name);
                if let Some(info) = &info {
                    (tensor.dtype, tensor.bytes) = (Some(info.dtype.clone()), info.bytes);
                }
                state
                    .problems
                    .extend(self.compare(&tensor, info, shapes, elements));
            }
            Source::Random(_) => {
                let form = self.random_form(&tensor.name, elements);
                let (dtype, bytes) = random::stored(&tensor.shape, form);
                (tensor.dtype, tensor.bytes) = (Some(dtype), bytes);
            }
        }
        tensor.token_bytes = tensor.bytes;
        if self.reads != Reads::All {
            let part = (state.tensors.len(), self.reads, self.prefix.clone());
            state.parts.push(part);
        }
        state.tensors.push(tensor);
        if state.tensors.len() > MAX_TENSORS {
            return Err(LoadError::TooMany(MAX_TENSORS).into());
        }
        if state.problems.len() > MAX_PROBLEMS {
            let problems = std::mem::take(&mut state.problems);
            return Err(LoadError::DoesNotFit {
                architecture: self.shared.architecture.name,
                problems,
            }
            .into());
        }
        Ok(())
    }

    /// What is wrong with a tensor, given what the file's header says of it.
    fn compare(
        &self,
        tensor: &PlannedTensor,
        info: Option<TensorInfo>,
        shapes: &[&[usize]],
        elements: Elements,
    ) -> Vec<Problem> {
        let tensor = || tensor.clone();
        let Some(info) = info else {
            return vec![Problem::Missing {
                tensor: tensor(),
                nearest: None,
            }];
        };
        let mut problems = Vec::new();
        if !shapes
            .iter()
            .any(|shape| same_shape(shape, &info.shape, self.is_gguf()))
        {
            problems.push(Problem::Shape {
                tensor: tensor(),
                found: info.shape,
            });
        }
        if !elements.fit(&info.dtype) {
            let expected = elements.expected();
            problems.push(Problem::Dtype {
                tensor: tensor(),
                expected,
                found: info.dtype,
            });
        }
        problems
    }

    /// Ends planning: what was asked for, and everything wrong with the checkpoint.
    pub(crate) fn finish(self) -> Plan {
        let mut state = self.shared.state.take();
        if let Source::Checkpoint(checkpoint) = self.shared.source {
            let left: BTreeMap<&str, bool> = checkpoint
                .names()
                .filter(|name| !state.asked.contains(*name))
                .map(|name| {
                    (
                        name,
                        state.allowed.contains(name) || self.ignores(name, state.layers),
                    )
                })
                .collect();
            let mut searched = 0;
            for problem in &mut state.problems {
                if let Problem::Missing { tensor, nearest } = problem
                    && searched < MAX_SEARCHES
                {
                    searched += 1;
                    *nearest = names::nearest(&tensor.name, left.keys().copied());
                }
            }
            let unexpected =
                left.iter()
                    .filter(|(_, fine)| !**fine)
                    .map(|(name, _)| Problem::Unexpected {
                        name: (*name).to_owned(),
                        shape: checkpoint
                            .tensor(name)
                            .map_or(Vec::new(), |info| info.shape),
                    });
            state.problems.extend(unexpected);
        }
        for (index, reads, prefix) in std::mem::take(&mut state.parts) {
            let Some(tensor) = state.tensors.get_mut(index) else {
                continue;
            };
            let rows = tensor.shape.first().copied().unwrap_or(1);
            let (read, of) = match reads {
                Reads::TokenRow if !state.tied => (1, rows),
                Reads::PositionRow => (1, rows),
                Reads::Experts(count) => match state.chosen.get(&prefix) {
                    Some(chosen) => (*chosen, count),
                    None => continue,
                },
                Reads::TokenRow | Reads::All => continue,
            };
            // Without overflow: a tensor may be larger than any memory.
            tensor.token_bytes = (tensor.bytes as u128 * read as u128 / of.max(1) as u128) as usize;
        }
        Plan {
            architecture: self.shared.architecture.name,
            tensors: state.tensors,
            kv: state.kv,
            problems: state.problems,
        }
    }

    fn ignores(&self, name: &str, layers: usize) -> bool {
        let Shared {
            architecture, root, ..
        } = *self.shared;
        let without_root = name.strip_prefix(root);
        let patterns = architecture.ignore[usize::from(self.is_gguf())];
        patterns.iter().any(|pattern| {
            names::matches(pattern, name, layers)
                || without_root.is_some_and(|name| names::matches(pattern, name, layers))
        })
    }
}

/// Refuses a checkpoint that its plan has found wrong: by the name of its spelling if that is the reason.
pub(crate) fn judge(plan: Plan, checkpoint: &Checkpoint) -> Result<Plan> {
    if plan.problems.is_empty() {
        return Ok(plan);
    }
    if let Some(error) = spellings::unsupported(checkpoint) {
        return Err(error.into());
    }
    Err(LoadError::DoesNotFit {
        architecture: plan.architecture,
        problems: plan.problems,
    }
    .into())
}

/// GGUF drops leading dimensions of 1.
pub(super) fn same_shape(expected: &[usize], found: &[usize], gguf: bool) -> bool {
    fn trim(shape: &[usize]) -> &[usize] {
        let ones = shape.iter().take_while(|dim| **dim == 1).count();
        &shape[ones.min(shape.len().saturating_sub(1))..]
    }
    if gguf {
        trim(expected) == trim(found)
    } else {
        expected == found
    }
}

/// The first alternative prefix under which the checkpoint has the token embedding.
pub(super) fn find_root(
    architecture: &Architecture,
    config: &ConfigFile,
    source: Source,
) -> Result<&'static str> {
    let roots = architecture.roots[usize::from(config.format() == Format::Gguf)];
    let stem = architecture.tokens.in_format(config.format());
    let Source::Checkpoint(checkpoint) = source else {
        return Ok(roots.first().copied().unwrap_or_default());
    };
    let full = |root: &str| format!("{root}{stem}.weight");
    for root in roots {
        if let Some(tensor) = checkpoint.tensor(&full(root)) {
            if let Some(rows) = tensor.shape.first() {
                config.set_rows_of_embedding(*rows);
            }
            return Ok(root);
        }
    }
    let tried: Vec<String> = roots.iter().map(|root| full(root)).collect();
    let nearest = tried
        .first()
        .and_then(|name| names::nearest(name, checkpoint.names()));
    Err(LoadError::NoRoot {
        tried,
        at: architecture.tokens.at,
        nearest,
    }
    .into())
}
