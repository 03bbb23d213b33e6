//! Token and position embeddings.

use super::error::shape;
use super::{Activations, Name, NnError, Step};
use crate::weights::{Matrix, Weights};
use crate::{Result, cpu};

/// What an embedding reads.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingOptions {
    /// Rows of the token table.
    pub vocab: usize,
    /// Its columns.
    pub hidden: usize,
    /// Factor, rounded to the activation dtype.
    pub scale: f64,
    /// Learned positions: table, its rows (offset included), and the row of position 0.
    pub positions: Option<(Name, usize, usize)>,
}

/// Token (and position) embeddings.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[vocab, hidden]`; none when planning
    tokens: Option<Table>,
    scale: f32,
    hidden: usize,
    /// `[positions + offset, hidden]`, offset
    positions: Option<(Table, usize)>,
}

/// A table of rows.
#[derive(Clone, Debug)]
pub(super) enum Table {
    Host(Matrix),
    #[cfg(feature = "cuda")]
    Device(std::sync::Arc<crate::cuda::DeviceMatrix>),
}

impl Table {
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "for GPUs"))]
    fn new(w: &Weights, matrix: Matrix) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(loader) = w.loader() {
            let parts = std::slice::from_ref(&matrix);
            let device = crate::cuda::DeviceMatrix::load(loader, parts, "the embedding")?;
            return Ok(Self::Device(std::sync::Arc::new(device)));
        }
        Ok(Self::Host(matrix))
    }

    fn rows(&self) -> usize {
        match self {
            Self::Host(matrix) => matrix.rows(),
            #[cfg(feature = "cuda")]
            Self::Device(matrix) => matrix.rows(),
        }
    }

    /// One row as f32.
    fn row(&self, index: usize, out: &mut [f32]) -> Result<()> {
        match self {
            Self::Host(matrix) => Ok(matrix.dequantize_rows(index..index + 1, out)?),
            #[cfg(feature = "cuda")]
            Self::Device(_) => shape("an embedding on a GPU is not read by the CPU"),
        }
    }
}

impl Embedding {
    /// The token table is `[vocab, hidden]`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(w: &mut Weights, tokens: Name, options: EmbeddingOptions) -> Result<Self> {
        let EmbeddingOptions {
            vocab,
            hidden,
            scale,
            positions,
        } = options;
        let tokens = w.by_token().matrix(
            w.full_name(tokens)? + ".weight",
            [vocab, hidden],
            false,
            tokens.at,
        )?;
        let positions = match positions {
            Some((name, rows, offset)) => {
                let table = w.by_position().matrix(
                    w.full_name(name)? + ".weight",
                    [rows, hidden],
                    false,
                    name.at,
                )?;
                table.map(|table| (table, offset))
            }
            None => None,
        };
        let table = |matrix: Option<Matrix>| matrix.map(|matrix| Table::new(w, matrix)).transpose();
        let (tokens, positions) = match positions {
            Some((matrix, offset)) => (
                table(tokens)?,
                table(Some(matrix))?.map(|table| (table, offset)),
            ),
            None => (table(tokens)?, None),
        };
        Ok(Self {
            tokens,
            scale: scale as f32,
            hidden,
            positions,
        })
    }

    /// The token table.
    pub(super) fn table(&self) -> Option<&Table> {
        self.tokens.as_ref()
    }

    /// Refuses ids and positions that the tables do not have.
    fn check(&self, table: &Table, step: &Step) -> Result<()> {
        for (token, position) in step.tokens().iter().zip(step.positions()) {
            if *token as usize >= table.rows() {
                return Err(NnError::Token {
                    token: *token,
                    vocab: table.rows(),
                }
                .into());
            }
            if let Some((table, offset)) = &self.positions
                && position.saturating_add(*offset) >= table.rows()
            {
                let positions = table.rows().saturating_sub(*offset);
                return Err(NnError::Position {
                    position: *position,
                    positions,
                }
                .into());
            }
        }
        Ok(())
    }

    /// The beginning of a step's tape, if the tables are on a GPU.
    #[cfg(feature = "cuda")]
    fn recorded(&self, table: &Table, step: &Step) -> Option<crate::cuda::Value> {
        let Table::Device(table) = table else {
            return None;
        };
        let places = match &self.positions {
            Some((Table::Device(places), offset)) => Some((std::sync::Arc::clone(places), *offset)),
            _ => None,
        };
        let gpu = table.gpu();
        Some(crate::cuda::Value::embed(
            gpu,
            table,
            self.scale,
            places,
            step.tokens().len(),
        ))
    }

    /// The step's tokens → `[tokens, hidden]`
    ///
    /// # Errors
    /// If a token is not in the vocabulary or a position not in the table.
    pub fn forward(&self, step: &Step) -> Result<Activations> {
        let Some(table) = &self.tokens else {
            return shape("an embedding that was only planned has no rows");
        };
        self.check(table, step)?;
        #[cfg(feature = "cuda")]
        if let Some(x) = self.recorded(table, step) {
            return Ok(x.into());
        }
        let mut out = vec![0.0; step.tokens().len() * self.hidden];
        let mut position_row = vec![
            0.0;
            if self.positions.is_some() {
                self.hidden
            } else {
                0
            }
        ];
        let rows = out.chunks_exact_mut(self.hidden);
        for ((row, token), position) in rows.zip(step.tokens()).zip(step.positions()) {
            table.row(*token as usize, row)?;
            if self.scale != 1.0 {
                cpu::scale(row, self.scale);
            }
            if let Some((table, offset)) = &self.positions {
                table.row(position + offset, &mut position_row)?;
                cpu::add(row, &position_row);
            }
        }
        Activations::new(out, step.tokens().len(), self.hidden)
    }
}
