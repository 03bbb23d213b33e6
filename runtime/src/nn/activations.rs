//! What flows through the layers.

use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, Tensor};

use super::act::{self, Act};
use super::error::shape;
use super::parallel::for_rows;
#[cfg(feature = "cuda")]
use crate::kernels::elementwise::Map;
use crate::{Result, cpu};

/// Activations `[tokens, width]`, f32. A clone is cheap; what is shared is copied before it is changed. On a GPU they are a
/// place on the step's tape: operations are recorded and run with the logits.
#[derive(Clone, Debug)]
pub struct Activations(Numbers);

#[derive(Clone, Debug)]
enum Numbers {
    Host(Arc<Tensor>),
    #[cfg(feature = "cuda")]
    Device(crate::cuda::Value),
}

#[cfg(feature = "cuda")]
impl From<crate::cuda::Value> for Activations {
    fn from(value: crate::cuda::Value) -> Self {
        Self(Numbers::Device(value))
    }
}

/// The numbers of [`Activations`], row by row.
struct Values<G>(Option<G>);

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self.0.as_deref() {
            Some(Storage::Cpu(CpuStorage::F32(values))) => values,
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

#[cfg(feature = "cuda")]
fn mixed() -> crate::Error {
    crate::device::DeviceError::Mixed(
        "activations of the CPU and of a GPU met in one operation: the model and its parts must be on one device",
    )
    .into()
}

impl Activations {
    /// From values row by row, `width` in a row.
    pub(crate) fn new(values: Vec<f32>, tokens: usize, width: usize) -> Result<Self> {
        Ok(Self(Numbers::Host(Arc::new(Tensor::from_vec(
            values,
            (tokens, width),
            &Device::Cpu,
        )?))))
    }

    /// Rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        match &self.0 {
            Numbers::Host(tensor) => tensor.dims()[0],
            #[cfg(feature = "cuda")]
            Numbers::Device(value) => value.tokens(),
        }
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.0 {
            Numbers::Host(tensor) => tensor.dims()[1],
            #[cfg(feature = "cuda")]
            Numbers::Device(value) => value.width(),
        }
    }

    /// As a candle tensor `[tokens, width]`.
    ///
    /// # Errors
    /// If they are on a GPU, where only logits can be read.
    pub fn tensor(&self) -> Result<&Tensor> {
        self.shared().map(|tensor| &**tensor)
    }

    /// Their place on the tape of a GPU; `None` on the CPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn recorded(&self) -> Option<&crate::cuda::Value> {
        match &self.0 {
            Numbers::Host(_) => None,
            Numbers::Device(value) => Some(value),
        }
    }

    /// The places of two operands of one operation; `None` if both are on the CPU.
    #[cfg(feature = "cuda")]
    fn both_recorded<'a>(&'a self, other: &'a Self) -> Result<Option<[&'a crate::cuda::Value; 2]>> {
        match (self.recorded(), other.recorded()) {
            (None, None) => Ok(None),
            (Some(a), Some(b)) => Ok(Some([a, b])),
            _ => Err(mixed()),
        }
    }

    /// The numbers, row by row. Whoever can meet recorded ones has looked for them before.
    pub(crate) fn values(&self) -> impl Deref<Target = [f32]> + '_ {
        match &self.0 {
            Numbers::Host(tensor) => Values(Some(tensor.storage_and_layout().0)),
            #[cfg(feature = "cuda")]
            Numbers::Device(_) => Values(None),
        }
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
        let own = match &mut self.0 {
            Numbers::Host(tensor) => Arc::get_mut(tensor).is_some(),
            #[cfg(feature = "cuda")]
            Numbers::Device(_) => return Err(mixed()),
        };
        if !own {
            let values = self.values().to_vec();
            *self = Self::new(values, self.tokens(), self.width())?;
        }
        Ok(self.tensor()?.inplace_op1(&Change(f))?)
    }

    /// Changes rows in place, on all cores: `f(first_row, rows)`.
    pub(crate) fn change_rows(&mut self, f: impl Fn(usize, &mut [f32]) + Sync) -> Result<()> {
        let width = self.width();
        self.change(|values| for_rows(values, width, &f))
    }

    fn shared(&self) -> Result<&Arc<Tensor>> {
        match &self.0 {
            Numbers::Host(tensor) => Ok(tensor),
            #[cfg(feature = "cuda")]
            Numbers::Device(_) => Err(mixed()),
        }
    }

    fn same_shape(&self, other: &Self) -> Result<()> {
        if self.dims() == other.dims() {
            Ok(())
        } else {
            shape(format!(
                "cannot join activations {:?} and {:?}",
                self.dims(),
                other.dims()
            ))
        }
    }

    fn dims(&self) -> [usize; 2] {
        [self.tokens(), self.width()]
    }

    /// `self += other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&mut self, other: impl Borrow<Self>) -> Result<()> {
        self.join(other.borrow(), 1.0)
    }

    /// `self + other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn plus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let mut sum = self.clone();
        sum.join(other.borrow(), 1.0)?;
        Ok(sum)
    }

    /// `self - other`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn minus(&self, other: impl Borrow<Self>) -> Result<Self> {
        let mut difference = self.clone();
        difference.join(other.borrow(), -1.0)?;
        Ok(difference)
    }

    /// `self += sign * other`
    fn join(&mut self, other: &Self, sign: f32) -> Result<()> {
        self.same_shape(other)?;
        #[cfg(feature = "cuda")]
        if let Some([a, b]) = self.both_recorded(other)? {
            *self = a.join(b, sign)?.into();
            return Ok(());
        }
        let f = |a: f32, b: f32| a + sign * b;
        if Arc::ptr_eq(self.shared()?, other.shared()?) {
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
        #[cfg(feature = "cuda")]
        if let Some(x) = self.recorded() {
            let map = Map {
                factor,
                ..Map::IDENTITY
            };
            *self = x.map(map).into();
            return Ok(());
        }
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
            let dims = self.dims();
            return shape(format!(
                "cannot gate activations {dims:?} by {:?}",
                gate.dims()
            ));
        }
        #[cfg(feature = "cuda")]
        if let Some([x, gate]) = self.both_recorded(gate)? {
            return Ok(x.gated(gate, act)?.into());
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
        #[cfg(feature = "cuda")]
        if let Some(x) = self.recorded() {
            return Ok(x.columns(start, width).into());
        }
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
