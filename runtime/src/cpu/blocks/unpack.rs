//! From the planes of a group to bytes and f32 scales, the form that all micro-kernels take.
//!
//! Plain Rust that the compiler vectorises for whichever level inlines it.

use std::marker::PhantomData;

use super::format::{Format, Layout, ROWS, STEPS, Scales, UNIT};

/// The 64 lanes of a step: unsigned numbers, lane `4 row + column`.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Step(pub(super) [u8; 64]);

/// A number for each row.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; ROWS]);

impl Lanes {
    pub(super) const ZERO: Self = Self([0.0; ROWS]);
}

/// Decoded units of a group.
#[derive(Default)]
pub(super) struct Panel {
    /// Eight a unit.
    pub(super) steps: Vec<Step>,
    /// [`Format::SUBS`] a unit.
    pub(super) scales: Vec<Lanes>,
    /// As many as scales; unused if the format has none.
    pub(super) minima: Vec<Lanes>,
}

impl Panel {
    /// Makes room for some units; never less than before.
    pub(super) fn reserve<F: Format>(&mut self, units: usize) {
        if self.steps.len() < units * STEPS {
            self.steps.resize(units * STEPS, Step([0; 64]));
        }
        if self.scales.len() < units * F::SUBS {
            self.scales.resize(units * F::SUBS, Lanes::ZERO);
            self.minima.resize(units * F::SUBS, Lanes::ZERO);
        }
    }
}

/// Decodes units `first..first + units` of a group into units `at..` of a panel that has room.
#[inline(always)]
pub(super) fn units<F: Format>(
    group: &[u8],
    layout: &Layout,
    first: usize,
    units: usize,
    panel: &mut Panel,
    at: usize,
) {
    for i in 0..units {
        let unit = first + i;
        let low = &group[unit * F::LOW * 64..][..F::LOW * 64];
        let high = &group[layout.high + unit * F::HIGH * 64..][..F::HIGH * 64];
        steps::<F>(low, high, &mut panel.steps[(at + i) * STEPS..][..STEPS]);
        let range = (at + i) * F::SUBS..(at + i + 1) * F::SUBS;
        let (scales, minima) = (&mut panel.scales[range.clone()], &mut panel.minima[range]);
        scales_of::<F>(group, layout, unit, scales, minima);
    }
}

#[inline(always)]
fn steps<F: Format>(low: &[u8], high: &[u8], out: &mut [Step]) {
    let (low, _) = low.as_chunks::<64>();
    let (high, _) = high.as_chunks::<64>();
    let per_low = 8 / F::LOW;
    for (step, out) in out.iter_mut().enumerate() {
        if F::LOW == 8 {
            out.0 = low[step];
            continue;
        }
        let shift = step % per_low * F::LOW;
        let low = &low[step / per_low];
        for lane in 0..64 {
            out.0[lane] = low[lane] >> shift & ((1_u16 << F::LOW) - 1) as u8;
        }
        if F::HIGH > 0 {
            // As above, with the division turned round: there may be no high bits.
            let shift = step * F::HIGH % 8;
            let high = &high[step * F::HIGH / 8];
            for lane in 0..64 {
                out.0[lane] |= (high[lane] >> shift & ((1 << F::HIGH) - 1)) << F::LOW;
            }
        }
        if matches!(F::SCALES, Scales::Power) {
            for lane in &mut out.0 {
                *lane = e2m1(*lane);
            }
        }
    }
}

/// The value of a 4-bit float, doubled, plus 12: by comparisons, because a table look-up is no vector operation everywhere.
#[inline(always)]
fn e2m1(code: u8) -> u8 {
    let m = code & 7;
    let value = m + u8::from(m > 4) + u8::from(m > 5) + 3 * u8::from(m > 6);
    if code & 8 == 0 {
        12 + value
    } else {
        12 - value
    }
}

#[inline(always)]
fn scales_of<F: Format>(
    group: &[u8],
    layout: &Layout,
    unit: usize,
    scales: &mut [Lanes],
    minima: &mut [Lanes],
) {
    let (block, inner) = (unit / 8, unit % 8);
    let half = Half::<F>(group, layout, PhantomData);
    let small = Small(&group[layout.small..]);
    match F::SCALES {
        Scales::Half => {
            scales[0] = half.at(unit, 0);
            if F::MIN {
                minima[0] = half.at(unit, 1);
            }
        }
        Scales::Power => {
            let powers = small.at(unit);
            scales[0] = Lanes(each(|row| half_power_of_two(powers[row])));
        }
        Scales::SixSix => {
            let (first, second) = pair(
                small.at(block * 12 + inner),
                small.at(block * 12 + 8 + inner / 2),
                inner,
            );
            scales[0] = product(half.at(block, 0), |row| f32::from(first[row]));
            minima[0] = product(half.at(block, 1), |row| -f32::from(second[row]));
        }
        Scales::Six => {
            let (first, second) = pair(
                small.at(block * 12 + inner),
                small.at(block * 12 + 8 + inner / 2),
                inner,
            );
            for (out, small) in scales.iter_mut().zip([first, second]) {
                *out = product(half.at(block, 0), |row| f32::from(small[row]) - 32.0);
            }
        }
        Scales::FourFour => {
            for (sub, (scale, min)) in scales.iter_mut().zip(minima).enumerate() {
                let small = small.at(block * 16 + 2 * inner + sub);
                *scale = product(half.at(block, 0), |row| f32::from(small[row] & 15));
                *min = product(half.at(block, 1), |row| -f32::from(small[row] >> 4));
            }
        }
        Scales::Signed => {
            for (sub, scale) in scales.iter_mut().enumerate() {
                let small = small.at(block * 16 + 2 * inner + sub);
                *scale = product(half.at(block, 0), |row| f32::from(small[row].cast_signed()));
            }
        }
    }
}

/// The plane of halves. Its access is a function, not a closure, to be sure that it is inlined.
struct Half<'a, F>(&'a [u8], &'a Layout, PhantomData<F>);

impl<F: Format> Half<'_, F> {
    /// Scales (set 0) or minima (set 1) of a unit or block.
    #[inline(always)]
    fn at(&self, index: usize, set: usize) -> Lanes {
        let set = index * (1 + usize::from(F::MIN)) + set;
        halves(&self.0[self.1.halves + set * ROWS * 2..][..ROWS * 2])
    }
}

/// The plane of small scales.
struct Small<'a>(&'a [u8]);

impl Small<'_> {
    #[inline(always)]
    fn at(&self, set: usize) -> &[u8; ROWS] {
        // Always that many: the plane has whole sets.
        self.0[set * ROWS..].first_chunk().unwrap_or(&[0; ROWS])
    }
}

/// The two 6-bit numbers of a unit: low bits in one byte, high bits in half of another.
#[inline(always)]
fn pair(low: &[u8; ROWS], high: &[u8; ROWS], inner: usize) -> ([u8; ROWS], [u8; ROWS]) {
    let high = |row: usize| high[row] >> (inner % 2 * 4);
    (
        each(|row| low[row] & 15 | (high(row) & 3) << 4),
        each(|row| low[row] >> 4 | (high(row) >> 2 & 3) << 4),
    )
}

#[inline(always)]
fn product(d: Lanes, small: impl Fn(usize) -> f32) -> Lanes {
    Lanes(each(|row| d.0[row] * small(row)))
}

/// A value for each row. Unlike `array::from_fn` always inlined, and so compiled with the caller's instructions.
#[inline(always)]
fn each<T: Copy + Default>(value: impl Fn(usize) -> T) -> [T; ROWS] {
    let mut out = [T::default(); ROWS];
    for row in 0..ROWS {
        out[row] = value(row);
    }
    out
}

/// Sixteen f16 to f32 by shifting the bits into place and correcting the exponent: right for all finite numbers, the
/// subnormal ones too, and vectorised everywhere.
#[inline(always)]
fn halves(bytes: &[u8]) -> Lanes {
    let (bytes, _) = bytes.as_chunks::<2>();
    Lanes(each(|row| {
        let half = u32::from(u16::from_le_bytes(bytes[row]));
        let magnitude = f32::from_bits((half & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        f32::from_bits(magnitude.to_bits() | (half & 0x8000) << 16)
    }))
}

/// `2^(e - 128)`: the values of E2M1 are doubled.
#[inline(always)]
fn half_power_of_two(e: u8) -> f32 {
    let e = u32::from(e);
    let normal = e.wrapping_sub(1) << 23;
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { normal })
}

const _: () = assert!(UNIT == STEPS * 4);
