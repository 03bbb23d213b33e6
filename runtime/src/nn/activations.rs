//! What flows through the layers.

use std::borrow::Borrow;
use std::sync::Arc;

use candle_core::Tensor;

use super::act::Act;
use super::error::shape;
use crate::Result;

/// Activations `[tokens, width]`, f32. A clone is cheap; what is shared is copied before it is changed.
#[derive(Clone, Debug)]
pub struct Activations(Arc<Tensor>);

impl Activations {
    /// Rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.0.dims()[0]
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.dims()[1]
    }

    /// `self += other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&mut self, other: impl Borrow<Self>) -> Result<()> {
        let _ = other;
        shape("unfinished")
    }

    /// `self + other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn plus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let _ = other;
        shape("unfinished")
    }

    /// `self - other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn minus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let _ = other;
        shape("unfinished")
    }

    /// `factor * self`
    ///
    /// # Errors
    /// None on the CPU.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        let _ = factor;
        shape("unfinished")
    }

    /// `self *= factor`
    ///
    /// # Errors
    /// None on the CPU.
    pub fn scale_by(&mut self, factor: f64) -> Result<()> {
        let _ = factor;
        shape("unfinished")
    }

    /// `self * act(gate)`: a gate for each element, for each head (`[tokens, heads]`) or for the token (`[tokens, 1]`).
    ///
    /// # Errors
    /// If the gate's width does not divide the own one.
    pub fn gated(self, gate: impl Borrow<Self>, act: Act) -> Result<Self> {
        let _ = (gate, act);
        shape("unfinished")
    }

    /// The leading columns and the last `width` ones.
    ///
    /// # Errors
    /// If there are not more than `width`.
    pub fn split_tail(&self, width: usize) -> Result<(Self, Self)> {
        let _ = width;
        shape("unfinished")
    }
}
