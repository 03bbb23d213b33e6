//! How each block format splits into planes of bits.
//!
//! A number of the file is `scale · (q - ZERO) + minimum` with an unsigned `q` of `LOW + HIGH` bits. Sixteen rows form a
//! *group*. Its bytes are four planes, each running along the columns:
//!
//! * low bits of q and high bits of q. The unit is 32 columns: eight *steps* of 4 columns × 16 rows = 64 lanes, lane
//!   `4 row + column`, so that one vector of a step is what a byte dot-product instruction takes. With 4 bits a byte
//!   holds a lane of two consecutive steps, with 2 bits of four, with 1 bit of all eight.
//! * small scales: bytes, of 16 rows side by side.
//! * halves: f16 scales of 16 rows, then f16 minima if there are any.
//!
//! That is as many bytes as the file has.

use crate::weights::WeightDtype;

/// Rows of a group.
pub(super) const ROWS: usize = 16;
/// Columns of a unit.
pub(super) const UNIT: usize = 32;
/// Steps of a unit.
pub(super) const STEPS: usize = 8;

/// A block format, known at compile time.
pub(super) trait Format {
    /// The format of the file.
    const DTYPE: WeightDtype;
    /// Bits of q in the plane of low bits: 2, 4 or 8.
    const LOW: usize;
    /// Bits of q in the plane of high bits: 0, 1 or 2.
    const HIGH: usize = 0;
    /// What stands for zero.
    const ZERO: i32 = 0;
    /// Whether there are minima.
    const MIN: bool = false;
    /// How scales are stored.
    const SCALES: Scales;

    /// Scales of a unit: one, or one for each 16 columns.
    const SUBS: usize = match Self::SCALES {
        Scales::Half | Scales::Power | Scales::SixSix => 1,
        Scales::Six | Scales::FourFour | Scales::Signed => 2,
    };
    /// The largest q after decoding, which bounds sums of 16-bit products.
    const LARGEST: i32 = match Self::SCALES {
        Scales::Power => 24,
        _ => (1 << (Self::LOW + Self::HIGH)) - 1,
    };
}

/// How the scales of a format are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scales {
    /// An f16 for each 32 columns.
    Half,
    /// A power of two as a byte for each 32 columns; q is an index into the values of E2M1.
    Power,
    /// 6-bit scales and minima for each 32 columns.
    SixSix,
    /// 6-bit scales minus 32 for each 16 columns.
    Six,
    /// 4-bit scales and minima for each 16 columns.
    FourFour,
    /// Signed bytes for each 16 columns.
    Signed,
}

impl Scales {
    /// Bytes of small scales for 256 columns of one row.
    const fn small(self) -> usize {
        match self {
            Self::Half => 0,
            Self::Power => 8,
            Self::SixSix | Self::Six => 12,
            Self::FourFour | Self::Signed => 16,
        }
    }

    /// Sets of halves for 256 columns.
    const fn halves(self) -> usize {
        match self {
            Self::Half => 8,
            Self::Power => 0,
            _ => 1,
        }
    }
}

macro_rules! formats {
    ($($name:ident { $($const:ident: $type:ty = $value:expr),* $(,)? })*) => {$(
        pub(super) struct $name;
        impl Format for $name {
            const DTYPE: WeightDtype = WeightDtype::$name;
            $(const $const: $type = $value;)*
        }
    )*};
}

formats! {
    Q4_0 { LOW: usize = 4, ZERO: i32 = 8, SCALES: Scales = Scales::Half }
    Q4_1 { LOW: usize = 4, MIN: bool = true, SCALES: Scales = Scales::Half }
    Q5_0 { LOW: usize = 4, HIGH: usize = 1, ZERO: i32 = 16, SCALES: Scales = Scales::Half }
    Q5_1 { LOW: usize = 4, HIGH: usize = 1, MIN: bool = true, SCALES: Scales = Scales::Half }
    Q8_0 { LOW: usize = 8, ZERO: i32 = 128, SCALES: Scales = Scales::Half }
    Q2K { LOW: usize = 2, MIN: bool = true, SCALES: Scales = Scales::FourFour }
    Q3K { LOW: usize = 2, HIGH: usize = 1, ZERO: i32 = 4, SCALES: Scales = Scales::Six }
    Q4K { LOW: usize = 4, MIN: bool = true, SCALES: Scales = Scales::SixSix }
    Q5K { LOW: usize = 4, HIGH: usize = 1, MIN: bool = true, SCALES: Scales = Scales::SixSix }
    Q6K { LOW: usize = 4, HIGH: usize = 2, ZERO: i32 = 32, SCALES: Scales = Scales::Signed }
    Mxfp4 { LOW: usize = 4, ZERO: i32 = 12, SCALES: Scales = Scales::Power }
}

/// Calls a function that is generic over [`Format`] with the one of a [`WeightDtype`]; the last arm is for floats.
macro_rules! with_format {
    ($dtype:expr, $function:ident($($arg:expr),*), $float:expr) => {{
        use $crate::cpu::blocks::format as f;
        use $crate::weights::WeightDtype as D;
        match $dtype {
            D::Q4_0 => $function::<f::Q4_0>($($arg),*),
            D::Q4_1 => $function::<f::Q4_1>($($arg),*),
            D::Q5_0 => $function::<f::Q5_0>($($arg),*),
            D::Q5_1 => $function::<f::Q5_1>($($arg),*),
            D::Q8_0 => $function::<f::Q8_0>($($arg),*),
            D::Q2K => $function::<f::Q2K>($($arg),*),
            D::Q3K => $function::<f::Q3K>($($arg),*),
            D::Q4K => $function::<f::Q4K>($($arg),*),
            D::Q5K => $function::<f::Q5K>($($arg),*),
            D::Q6K => $function::<f::Q6K>($($arg),*),
            D::Mxfp4 => $function::<f::Mxfp4>($($arg),*),
            D::F32 | D::F16 | D::BF16 => $float,
        }
    }};
}
pub(super) use with_format;

/// Where the planes of a group lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) high: usize,
    pub(super) small: usize,
    pub(super) halves: usize,
    /// Bytes of a group.
    pub(super) bytes: usize,
}

impl Layout {
    /// The planes of a group of `cols` columns; `None` beyond `usize`.
    pub(super) fn new<F: Format>(cols: usize) -> Option<Self> {
        let units = cols / UNIT;
        let plane = |bytes_of_8_units: usize| units.checked_mul(bytes_of_8_units).map(|b| b / 8);
        let high = plane(F::LOW * 64 * 8)?;
        let small = high.checked_add(plane(F::HIGH * 64 * 8)?)?;
        let halves = small.checked_add(plane(F::SCALES.small() * ROWS)?)?;
        let sets = F::SCALES.halves() * (1 + usize::from(F::MIN));
        let end = halves.checked_add(plane(sets * ROWS * 2)?)?;
        Some(Self {
            high,
            small,
            halves,
            bytes: end.checked_next_multiple_of(64)?,
        })
    }
}
