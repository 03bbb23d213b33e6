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
    tokens: Option<Matrix>,
    scale: f32,
    hidden: usize,
    /// `[positions + offset, hidden]`, offset
    positions: Option<(Matrix, usize)>,
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
        let table = w.matrix(
            w.full_name(tokens)? + ".weight",
            [vocab, hidden],
            false,
            tokens.at,
        )?;
        let positions = match positions {
            Some((name, rows, offset)) => {
                let table = w.matrix(
                    w.full_name(name)? + ".weight",
                    [rows, hidden],
                    false,
                    name.at,
                )?;
                table.map(|table| (table, offset))
            }
            None => None,
        };
        Ok(Self {
            tokens: table,
            scale: scale as f32,
            hidden,
            positions,
        })
    }

    /// The token table.
    pub(super) fn matrix(&self) -> Option<&Matrix> {
        self.tokens.as_ref()
    }

    /// The step's tokens → `[tokens, hidden]`
    ///
    /// # Errors
    /// If a token is not in the vocabulary or a position not in the table.
    pub fn forward(&self, step: &Step) -> Result<Activations> {
        let Some(table) = &self.tokens else {
            return shape("an embedding that was only planned has no rows");
        };
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
            let index = *token as usize;
            if index >= table.rows() {
                return Err(NnError::Token {
                    token: *token,
                    vocab: table.rows(),
                }
                .into());
            }
            table.dequantize_rows(index..index + 1, row)?;
            if self.scale != 1.0 {
                cpu::scale(row, self.scale);
            }
            if let Some((table, offset)) = &self.positions {
                let index = position.saturating_add(*offset);
                if index >= table.rows() {
                    let positions = table.rows().saturating_sub(*offset);
                    return Err(NnError::Position {
                        position: *position,
                        positions,
                    }
                    .into());
                }
                table.dequantize_rows(index..index + 1, &mut position_row)?;
                cpu::add(row, &position_row);
            }
        }
        Activations::new(out, step.tokens().len(), self.hidden)
    }
}
