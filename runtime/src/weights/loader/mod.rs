//! The weights of a checkpoint as generated code asks for them.
//!
//! A model is loaded twice by the same code: first *planning*, which records every tensor asked for and looks only at the
//! file's header, then *loading*, which reads them. So a checkpoint is judged whole before a byte is read.

mod planning;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

#[cfg(feature = "cuda")]
use super::Recipe;
use super::plan::{KvLayer, LoadError, PlannedTensor, Problem};
use super::{
    Bytes, Checkpoint, Matrix, Random, StoredDtype, StoredTensor, WeightDtype, joined_mxfp4, random,
};
use crate::config::{ConfigFile, Format};
use crate::cpu::{PackedMatrix, Precision};
use crate::device::Backend;
use crate::nn::{Architecture, Frequencies, Heads, KvSlot, Name};
use crate::{Error, Result};
pub(crate) use planning::judge;
use planning::{find_root, same_shape};

/// Where weights come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A checkpoint.
    Checkpoint(&'a Checkpoint),
    /// Random numbers that a seed and the tensor's name determine.
    Random(Random),
}

/// Whether tensors are read or only asked for.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    Planning,
    Loading(Backend),
}

/// The weights of one model, seen from its root or from one layer.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    shared: Rc<Shared<'a>>,
    /// Of a layer.
    prefix: String,
    /// How much of what is asked for a token reads.
    reads: Reads,
}

/// How much of a tensor a token reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    All,
    /// A row, unless it is the head too.
    TokenRow,
    PositionRow,
    /// Those that the layer's router chooses of so many.
    Experts(usize),
}

#[derive(Debug)]
struct Shared<'a> {
    architecture: &'a Architecture,
    config: &'a ConfigFile,
    source: Source<'a>,
    mode: Mode,
    root: &'static str,
    /// Types of random matrices that are not bf16.
    dtypes: BTreeMap<String, WeightDtype>,
    #[cfg(feature = "cuda")]
    loader: Option<crate::cuda::Loader>,
    state: RefCell<State>,
}

/// What has been asked for.
#[derive(Debug, Default)]
struct State {
    tensors: Vec<PlannedTensor>,
    asked: BTreeSet<String>,
    /// Present, and not used: the head's matrix of a tied model.
    allowed: BTreeSet<String>,
    kv: Vec<KvLayer>,
    problems: Vec<Problem>,
    /// Tensors of which a token reads a part, and the prefix of their layer.
    parts: Vec<(usize, Reads, String)>,
    /// By prefix, how many experts a token takes.
    chosen: BTreeMap<String, usize>,
    /// The token embedding is the head.
    tied: bool,
    /// Highest layer seen, plus one.
    layers: usize,
    frequencies: Vec<Arc<Frequencies>>,
}

/// What a tensor's elements must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elements {
    Numbers,
    /// Numbers one by one, so that they can be transposed.
    Floats,
    Nibbles,
    Scales,
}

impl Elements {
    fn fit(self, dtype: &StoredDtype) -> bool {
        match self {
            Self::Numbers => dtype.weight().is_some(),
            Self::Floats => dtype.weight().is_some_and(|dtype| dtype.is_float()),
            Self::Nibbles | Self::Scales => {
                matches!(
                    dtype,
                    StoredDtype::Raw(::safetensors::Dtype::U8 | ::safetensors::Dtype::F8_E8M0)
                )
            }
        }
    }

    /// Weights in a tensor of this shape.
    fn parameters(self, shape: &[usize]) -> u64 {
        let elements = shape
            .iter()
            .fold(1_u64, |product, dim| product.saturating_mul(*dim as u64));
        match self {
            Self::Numbers | Self::Floats => elements,
            Self::Nibbles => elements.saturating_mul(2),
            Self::Scales => 0,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Numbers => "F32, F16, BF16 or a GGUF block type",
            Self::Floats => "F32, F16 or BF16",
            Self::Nibbles | Self::Scales => "U8",
        }
    }
}

impl<'a> Weights<'a> {
    /// The weights of a model of this architecture.
    ///
    /// # Errors
    /// If no alternative prefix fits the checkpoint.
    pub(crate) fn new(
        architecture: &'a Architecture,
        config: &'a ConfigFile,
        source: Source<'a>,
        mode: Mode,
    ) -> Result<Self> {
        Self::with_dtypes(architecture, config, source, mode, BTreeMap::new())
    }

    /// The same; random matrices of these names have these types.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn with_dtypes(
        architecture: &'a Architecture,
        config: &'a ConfigFile,
        source: Source<'a>,
        mode: Mode,
        dtypes: BTreeMap<String, WeightDtype>,
    ) -> Result<Self> {
        let root = find_root(architecture, config, source)?;
        #[cfg(feature = "cuda")]
        let loader = match &mode {
            Mode::Loading(Backend::Cuda(gpu)) => Some(crate::cuda::Loader::new(gpu)),
            _ => None,
        };
        let shared = Shared {
            architecture,
            config,
            source,
            mode,
            root,
            dtypes,
            #[cfg(feature = "cuda")]
            loader,
            state: RefCell::default(),
        };
        Ok(Self {
            shared: Rc::new(shared),
            prefix: String::new(),
            reads: Reads::All,
        })
    }

    /// Settings of the checkpoint.
    #[must_use]
    pub fn config(&self) -> &'a ConfigFile {
        self.shared.config
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.shared.config.format()
    }

    pub(crate) fn is_gguf(&self) -> bool {
        self.format() == Format::Gguf
    }

    /// The same weights, seen from layer `i`; `prefix` is `[safetensors, GGUF]` with `{i}`.
    #[must_use]
    pub fn layer(&self, prefix: [&'static str; 2], i: usize) -> Self {
        let prefix = Name::new(prefix, "")
            .in_format(self.format())
            .replace("{i}", &i.to_string());
        let mut state = self.shared.state.borrow_mut();
        state.layers = state.layers.max(i + 1);
        Self {
            shared: Rc::clone(&self.shared),
            prefix,
            reads: Reads::All,
        }
    }

    fn reading(&self, reads: Reads) -> Self {
        Self {
            reads,
            ..self.clone()
        }
    }

    /// The same weights; of what is asked for a token reads its row.
    pub(crate) fn by_token(&self) -> Self {
        self.reading(Reads::TokenRow)
    }

    /// The same weights; of what is asked for a token reads its position's row.
    pub(crate) fn by_position(&self) -> Self {
        self.reading(Reads::PositionRow)
    }

    /// The same weights; what is asked for is that of `count` experts.
    pub(crate) fn of_experts(&self, count: usize) -> Self {
        self.reading(Reads::Experts(count))
    }

    /// Says how many of the layer's experts a token takes.
    pub(crate) fn chooses(&self, experts: usize) {
        let mut state = self.shared.state.borrow_mut();
        state.chosen.insert(self.prefix.clone(), experts);
    }

    /// Says that the token embedding is the head.
    pub(crate) fn is_tied(&self) {
        self.shared.state.borrow_mut().tied = true;
    }

    /// Whether the file has no `<name>.weight`, with the root or without.
    #[must_use]
    pub fn absent(&self, name: Name) -> bool {
        match self.shared.source {
            Source::Checkpoint(_) => !self
                .head_names(name)
                .iter()
                .any(|name| self.has(&format!("{name}.weight"))),
            Source::Random(_) => false,
        }
    }

    /// A place in the cache for one attention's keys and values.
    ///
    /// # Errors
    /// None: the result keeps generated code uniform.
    pub fn kv_slot(
        &mut self,
        heads: Heads,
        window: Option<usize>,
        chunk: Option<usize>,
    ) -> Result<KvSlot> {
        let kv = &mut self.shared.state.borrow_mut().kv;
        kv.push(KvLayer {
            heads: heads.kv,
            k_dim: heads.dim,
            v_dim: heads.v_dim,
            window,
            chunk,
        });
        Ok(KvSlot {
            layer: kv.len() - 1,
            heads,
            v_is_k: false,
        })
    }

    /// Whether tensors are only asked for.
    pub(crate) fn planning(&self) -> bool {
        matches!(self.shared.mode, Mode::Planning)
    }

    /// What loads weights to a GPU; `None` on the CPU and when planning.
    #[cfg(feature = "cuda")]
    pub(crate) fn loader(&self) -> Option<&crate::cuda::Loader> {
        self.shared.loader.as_ref()
    }

    /// A matrix with row `order[r]` as row r. On the CPU a copy; a GPU's loader takes the rows in this order.
    pub(crate) fn select_rows(&self, matrix: &Matrix, order: &[usize]) -> Result<Matrix> {
        #[cfg(feature = "cuda")]
        if self.loader().is_some() {
            return Ok(matrix.with_rows(order)?);
        }
        Ok(matrix.select_rows(order)?)
    }

    /// MXFP4 blocks as ggml has them, of which the result makes any range, out of nibbles and scales that lie apart. On the
    /// CPU copies; a GPU's loader joins them itself.
    pub(crate) fn joined_mxfp4(
        &self,
        nibbles: Bytes,
        scales: Bytes,
    ) -> impl Fn(Range<usize>) -> Result<Bytes> + use<'a> {
        #[cfg(feature = "cuda")]
        let lazy = self.loader().map(|_| {
            let len = scales.len() * WeightDtype::Mxfp4.block_bytes();
            let (nibbles, scales) = (nibbles.clone(), scales.clone());
            Bytes::lazy(Recipe::Mxfp4 { nibbles, scales }, len)
        });
        move |blocks| {
            #[cfg(feature = "cuda")]
            if let Some(lazy) = &lazy {
                let each = WeightDtype::Mxfp4.block_bytes();
                return part(lazy, blocks.start * each..blocks.end * each);
            }
            let nibbles = part(&nibbles, blocks.start * 16..blocks.end * 16)?;
            Ok(joined_mxfp4(&nibbles, &part(&scales, blocks)?).into())
        }
    }

    /// Whether the checkpoint has a tensor of this whole name.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self.shared.source, Source::Checkpoint(checkpoint) if checkpoint.tensor(name).is_some())
    }

    /// Whether stacked experts are in the MXFP4 spelling; for random weights the config file says it.
    pub(crate) fn has_mxfp4(&self, blocks: &str) -> bool {
        match self.shared.source {
            Source::Checkpoint(_) => self.has(blocks),
            Source::Random(_) => self.config().quantization_method() == Some("mxfp4"),
        }
    }

    /// A name with root and prefix, without suffix.
    ///
    /// # Errors
    /// If the format has no such name.
    pub(crate) fn full_name(&self, name: Name) -> Result<String> {
        match name.in_format(self.format()) {
            "" => Err(LoadError::NoName { at: name.at }.into()),
            stem => Ok(format!("{}{}{stem}", self.shared.root, self.prefix)),
        }
    }

    /// The head's full name, which may stand without the root.
    pub(crate) fn head_name(&self, name: Name) -> Result<String> {
        let [with_root, without] = self.head_names(name);
        let found =
            !self.has(&format!("{with_root}.weight")) && self.has(&format!("{without}.weight"));
        if name.in_format(self.format()).is_empty() {
            return Err(LoadError::NoName { at: name.at }.into());
        }
        Ok(if found { without } else { with_root })
    }

    fn head_names(&self, name: Name) -> [String; 2] {
        let stem = name.in_format(self.format());
        [format!("{}{stem}", self.shared.root), stem.to_owned()]
    }

    /// Lets the file have a tensor that is not used.
    pub(crate) fn allow(&self, name: String) {
        self.shared.state.borrow_mut().allowed.insert(name);
    }

    /// A vector `<name><suffix>` `[len]`. Empty when planning.
    pub(crate) fn vector(&self, name: Name, suffix: &str, len: usize) -> Result<Vec<f32>> {
        self.named_vector(self.full_name(name)? + suffix, &[&[len]], name.at)
    }

    /// The numbers of a tensor of a whole name, row by row. Empty when planning.
    pub(crate) fn numbers(
        &self,
        name: String,
        shape: &[usize],
        at: &'static str,
    ) -> Result<Vec<f32>> {
        self.named_vector(name, &[shape], at)
    }

    /// A vector of a whole name that may have one of several shapes. Empty when planning.
    pub(crate) fn named_vector(
        &self,
        name: String,
        shapes: &[&[usize]],
        at: &'static str,
    ) -> Result<Vec<f32>> {
        match self.ask(name, shapes, Elements::Numbers, at)? {
            Some(tensor) => Ok(tensor.into_matrix()?.to_f32()?),
            None => Ok(Vec::new()),
        }
    }

    /// `<name>.weight` `[len]`, name without root and prefix, if the file has it. Empty when planning.
    pub(crate) fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let full = format!("{name}.weight");
        if name.is_empty() || !self.has(&full) {
            return Ok(None);
        }
        let vector = self.named_vector(full, &[&[len]], self.shared.architecture.tokens.at)?;
        // Planning must not judge numbers that it has not read.
        Ok(Some(if self.planning() {
            vec![1.0; len]
        } else {
            vector
        }))
    }

    /// A matrix of a whole name, `[rows, cols]` after undoing `transposed`. `None` when planning.
    pub(crate) fn matrix(
        &self,
        name: String,
        [rows, cols]: [usize; 2],
        transposed: bool,
        at: &'static str,
    ) -> Result<Option<Matrix>> {
        let (shape, elements) = if transposed {
            ([cols, rows], Elements::Floats)
        } else {
            ([rows, cols], Elements::Numbers)
        };
        let Some(tensor) = self.ask(name, &[&shape], elements, at)? else {
            return Ok(None);
        };
        let [rows, cols] = shape;
        let matrix = Matrix::new(rows, cols, weight_dtype(&tensor)?, tensor.data)?;
        Ok(Some(if transposed {
            matrix.transpose()?
        } else {
            matrix
        }))
    }

    /// Matrices on top of each other: a tensor of any of these shapes as `[_, cols]`. `None` when planning.
    pub(crate) fn stack(
        &self,
        name: String,
        shape: &[usize],
        must_transpose: bool,
        at: &'static str,
    ) -> Result<Option<Matrix>> {
        let elements = if must_transpose {
            Elements::Floats
        } else {
            Elements::Numbers
        };
        let tensor = self.ask(name, &[shape], elements, at)?;
        Ok(tensor.map(StoredTensor::into_matrix).transpose()?)
    }

    /// Packed bytes: MXFP4 nibbles, or their scales. `None` when planning.
    pub(crate) fn packed(
        &self,
        name: String,
        shape: &[usize],
        nibbles: bool,
        at: &'static str,
    ) -> Result<Option<Bytes>> {
        let elements = if nibbles {
            Elements::Nibbles
        } else {
            Elements::Scales
        };
        Ok(self
            .ask(name, &[shape], elements, at)?
            .map(|tensor| tensor.data))
    }

    /// The rows that the file has of a projection; `None` if it is not there or no matrix.
    pub(crate) fn rows_of(&self, name: &str) -> Option<usize> {
        let Source::Checkpoint(checkpoint) = self.shared.source else {
            return None;
        };
        let shape = checkpoint.tensor(name)?.shape;
        match shape[..] {
            [rows, _] => Some(rows),
            // GGUF drops a dimension of 1.
            [_] if self.is_gguf() => Some(1),
            _ => None,
        }
    }

    /// A matrix in the form that products use.
    pub(crate) fn pack(&self, matrix: Matrix) -> Result<PackedMatrix> {
        let precision = match self.shared.mode {
            Mode::Loading(Backend::Cpu(precision)) => precision,
            _ => Precision::default(),
        };
        PackedMatrix::new(matrix, precision)
    }

    /// One copy of equal frequencies for all layers.
    pub(crate) fn share_frequencies(&self, frequencies: Frequencies) -> Arc<Frequencies> {
        let known = &mut self.shared.state.borrow_mut().frequencies;
        if let Some(known) = known.iter().find(|known| ***known == frequencies) {
            return Arc::clone(known);
        }
        let new = Arc::new(frequencies);
        known.push(Arc::clone(&new));
        new
    }

    /// Asks for a tensor; `shapes[0]` is the one to report. `None` when planning.
    fn ask(
        &self,
        name: String,
        shapes: &[&[usize]],
        elements: Elements,
        at: &'static str,
    ) -> Result<Option<StoredTensor>> {
        let shape = shapes.first().copied().unwrap_or_default();
        match (&self.shared.mode, self.shared.source) {
            (Mode::Planning, _) => self.plan(name, shapes, elements, at).map(|()| None),
            (Mode::Loading(_), Source::Checkpoint(checkpoint)) => {
                let read = checkpoint.read(&name)?;
                if shapes
                    .iter()
                    .any(|shape| same_shape(shape, &read.shape, self.is_gguf()))
                {
                    return Ok(Some(read));
                }
                // Two parts of the spec ask for one tensor in different shapes: the plan has seen the first only.
                let tensor = PlannedTensor {
                    name,
                    shape: shape.to_vec(),
                    at,
                    dtype: Some(read.dtype),
                    bytes: read.data.len(),
                    token_bytes: read.data.len(),
                    parameters: elements.parameters(shape),
                };
                let problems = vec![Problem::Shape {
                    tensor,
                    found: read.shape,
                }];
                Err(LoadError::DoesNotFit {
                    architecture: self.shared.architecture.name,
                    problems,
                }
                .into())
            }
            (Mode::Loading(_), Source::Random(random)) => {
                self.random(random, name, shape, elements).map(Some)
            }
        }
    }

    /// How a random tensor is stored.
    fn random_form(&self, name: &str, elements: Elements) -> random::Form {
        match elements {
            Elements::Numbers => {
                let dtype = self.shared.dtypes.get(name).copied();
                random::Form::Numbers(dtype.unwrap_or(WeightDtype::BF16))
            }
            // Blocks cannot be transposed.
            Elements::Floats => random::Form::Numbers(WeightDtype::BF16),
            Elements::Nibbles => random::Form::Nibbles,
            Elements::Scales => random::Form::Scales,
        }
    }

    fn random(
        &self,
        random: Random,
        name: String,
        shape: &[usize],
        elements: Elements,
    ) -> Result<StoredTensor> {
        let form = self.random_form(&name, elements);
        let (dtype, bytes) = random::stored(shape, form);
        let data = random::filler(random.seed, &name, shape, form).and_then(|filler| {
            // What is transposed is read by the CPU first.
            #[cfg(feature = "cuda")]
            if self.loader().is_some() && shape.len() > 1 && elements != Elements::Floats {
                return Some(Bytes::lazy(Recipe::Random(filler), bytes));
            }
            filler.make(bytes).map(Bytes::from)
        });
        match data {
            Some(data) => Ok(StoredTensor {
                shape: shape.to_vec(),
                dtype,
                data,
            }),
            None => Err(Error::from(LoadError::NoMemory {
                name,
                shape: shape.to_vec(),
            })),
        }
    }
}

/// A range of bytes that the plan has found to be there.
fn part(bytes: &Bytes, range: Range<usize>) -> Result<Bytes> {
    bytes.slice(range.clone()).ok_or_else(|| {
        let message = format!("{} bytes have no range {range:?}", bytes.len());
        super::CheckpointError::Matrix(message).into()
    })
}

fn weight_dtype(tensor: &StoredTensor) -> Result<WeightDtype> {
    tensor.dtype.weight().ok_or_else(|| {
        super::CheckpointError::Matrix(format!(
            "a tensor of {} is no matrix of numbers",
            tensor.dtype
        ))
        .into()
    })
}
