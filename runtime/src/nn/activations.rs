//! What flows through the layers.

use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, Tensor};

use super::act::{self, Act};
use super::error::shape;
use super::parallel::for_rows;
use crate::{Result, cpu};

/// Activations `[tokens, width]`, f32. A clone is cheap; what is shared is copied before it is changed.
#[derive(Clone, Debug)]
pub struct Activations(Arc<Tensor>);

/// The numbers of [`Activations`], row by row.
struct Values<G>(G);

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &*self.0 {
            Storage::Cpu(CpuStorage::F32(values)) => values,
            // `Activations` holds nothing else; an empty slice makes the shape checks of the callers fail.
            _ => &[],
        }
    }
}

/// Gives a closure the numbers of a tensor, to change in place.
struct Change<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        match storage {
            CpuStorage::F32(values) => {
                (self.0)(values);
                Ok(())
            }
            _ => candle_core::bail!("activations are f32"),
        }
    }
}

impl Activations {
    /// From values row by row, `width` in a row.
    pub(crate) fn new(values: Vec<f32>, tokens: usize, width: usize) -> Result<Self> {
        Ok(Self(Arc::new(Tensor::from_vec(
            values,
            (tokens, width),
            &Device::Cpu,
        )?)))
    }

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

    /// As a candle tensor `[tokens, width]`.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The numbers, row by row.
    pub(crate) fn values(&self) -> impl Deref<Target = [f32]> + '_ {
        Values(self.0.storage_and_layout().0)
    }

    /// Checks that rows have `width` columns; `what` is who needs it.
    pub(crate) fn check_width(&self, what: &str, width: usize) -> Result<()> {
        if self.width() == width {
            Ok(())
        } else {
            shape(format!(
                "{what} takes rows of {width}, not of {}",
                self.width()
            ))
        }
    }

    /// Changes the numbers in place; those of a clone stay.
    pub(crate) fn change(&mut self, f: impl Fn(&mut [f32])) -> Result<()> {
        if Arc::get_mut(&mut self.0).is_none() {
            let values = self.values().to_vec();
            *self = Self::new(values, self.tokens(), self.width())?;
        }
        Ok(self.0.inplace_op1(&Change(f))?)
    }

    /// Changes rows in place, on all cores: `f(first_row, rows)`.
    pub(crate) fn change_rows(&mut self, f: impl Fn(usize, &mut [f32]) + Sync) -> Result<()> {
        let width = self.width();
        self.change(|values| for_rows(values, width, &f))
    }

    fn same_shape(&self, other: &Self) -> Result<()> {
        if self.0.dims() == other.0.dims() {
            Ok(())
        } else {
            shape(format!(
                "cannot join activations {:?} and {:?}",
                self.0.dims(),
                other.0.dims()
            ))
        }
    }

    /// `self += other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&mut self, other: impl Borrow<Self>) -> Result<()> {
        self.join(other.borrow(), |a, b| a + b)
    }

    /// `self + other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn plus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let mut sum = self.clone();
        sum.join(other.borrow(), |a, b| a + b)?;
        Ok(sum)
    }

    /// `self - other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn minus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let mut difference = self.clone();
        difference.join(other.borrow(), |a, b| a - b)?;
        Ok(difference)
    }

    fn join(&mut self, other: &Self, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<()> {
        self.same_shape(other)?;
        if Arc::ptr_eq(&self.0, &other.0) {
            // Reading and writing one tensor at once would lock forever.
            return self.change_rows(|_, rows| rows.iter_mut().for_each(|x| *x = f(*x, *x)));
        }
        let width = self.width();
        let other = other.values();
        self.change_rows(|first, rows| {
            let other = &other[first * width..][..rows.len()];
            for (x, y) in rows.iter_mut().zip(other) {
                *x = f(*x, *y);
            }
        })
    }

    /// `factor * self`
    ///
    /// # Errors
    /// If the device fails.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        let mut product = self.clone();
        product.scale_by(factor)?;
        Ok(product)
    }

    /// `self *= factor`
    ///
    /// # Errors
    /// If the device fails.
    pub fn scale_by(&mut self, factor: f64) -> Result<()> {
        let factor = factor as f32;
        self.change_rows(|_, rows| cpu::scale(rows, factor))
    }

    /// `self * act(gate)`: a gate for each element, for each head (`[tokens, heads]`) or for the token (`[tokens, 1]`).
    ///
    /// # Errors
    /// If the gate's width does not divide the own one.
    pub fn gated(mut self, gate: impl Borrow<Self>, act: Act) -> Result<Self> {
        let gate = gate.borrow();
        let (width, gates) = (self.width(), gate.width());
        if gate.tokens() != self.tokens() || gates == 0 || !width.is_multiple_of(gates) {
            let dims = self.0.dims();
            return shape(format!(
                "cannot gate activations {dims:?} by {:?}",
                gate.0.dims()
            ));
        }
        let mut gate = gate.clone();
        gate.change_rows(|_, rows| act::apply(act, rows))?;
        let gate = gate.values();
        let each = width / gates;
        self.change_rows(|first, rows| {
            let gate = &gate[first * gates..];
            for (x, gate) in rows.chunks_exact_mut(each).zip(gate) {
                x.iter_mut().for_each(|x| *x *= gate);
            }
        })?;
        Ok(self)
    }

    /// The leading columns and the last `width` ones.
    ///
    /// # Errors
    /// If there are not more than `width`.
    pub fn split_tail(&self, width: usize) -> Result<(Self, Self)> {
        let Some(head) = self.width().checked_sub(width).filter(|&head| head > 0) else {
            return shape(format!("rows of {} have no tail of {width}", self.width()));
        };
        Ok((self.columns(0, head)?, self.columns(head, width)?))
    }

    fn columns(&self, start: usize, width: usize) -> Result<Self> {
        let values = self.values();
        let rows = values.chunks_exact(self.width());
        let values = rows
            .flat_map(|row| &row[start..start + width])
            .copied()
            .collect();
        Self::new(values, self.tokens(), width)
    }

    /// Some rows, in the order given.
    pub(crate) fn rows(&self, rows: &[usize]) -> Result<Self> {
        let width = self.width();
        let values = self.values();
        let mut out = Vec::with_capacity(rows.len() * width);
        for row in rows {
            out.extend_from_slice(&values[row * width..(row + 1) * width]);
        }
        Self::new(out, rows.len(), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32], tokens: usize) -> Activations {
        Activations::new(values.to_vec(), tokens, values.len() / tokens).unwrap()
    }

    #[test]
    fn a_clone_keeps_its_numbers() {
        let mut x = rows(&[1.0, 2.0], 1);
        let before = x.clone();
        x.scale_by(3.0).unwrap();
        x.add(&before).unwrap();
        assert_eq!(*x.values(), [4.0, 8.0]);
        assert_eq!(*before.values(), [1.0, 2.0]);
    }

    #[test]
    fn a_sum_with_itself_is_the_double() {
        let mut x = rows(&[1.0, 2.0], 2);
        let same = x.clone();
        assert_eq!(*x.minus(&same).unwrap().values(), [0.0, 0.0]);
        x.add(same).unwrap();
        assert_eq!(*x.values(), [2.0, 4.0]);
    }

    #[test]
    fn gates_are_for_elements_heads_or_tokens() {
        let x = rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2);
        let gated = |gate: &[f32]| {
            x.clone()
                .gated(rows(gate, 2), Act::Identity)
                .unwrap()
                .values()
                .to_vec()
        };
        assert_eq!(
            gated(&[2.0, 3.0]),
            [2.0, 4.0, 6.0, 8.0, 15.0, 18.0, 21.0, 24.0]
        );
        assert_eq!(
            gated(&[1.0, 2.0, 3.0, 4.0]),
            [1.0, 2.0, 6.0, 8.0, 15.0, 18.0, 28.0, 32.0]
        );
        assert_eq!(gated(&[0.0; 8]), [0.0; 8]);
        assert!(x.clone().gated(rows(&[1.0; 6], 2), Act::Identity).is_err());
    }

    #[test]
    fn other_shapes_do_not_add() {
        assert!(rows(&[1.0, 2.0], 1).add(rows(&[1.0, 2.0], 2)).is_err());
    }

    #[test]
    fn a_tail_is_cut_from_each_row() {
        let (head, tail) = rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2)
            .split_tail(1)
            .unwrap();
        assert_eq!(*head.values(), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(*tail.values(), [3.0, 6.0]);
        assert!(rows(&[1.0, 2.0], 1).split_tail(2).is_err());
    }
}
