//! What the decode kernels (1 to 8 tokens a step) have in common: the structs of decode.cuh and quant.cuh.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr};
use crate::nn::{Act, Glu};
use crate::weights::WeightDtype;

/// Most tokens that the kernels take at once.
pub(crate) const MOST_TOKENS: u32 = 8;

/// Values of a unit.
pub(crate) const UNIT: u32 = 32;

/// A weight matrix on the device, row-major; blocks as planes of quants, upper bits, scales and super-block scales, as far
/// as the type has them, else one plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(crate) dtype: WeightDtype,
    pub(crate) planes: [DevicePtr; 4],
    pub(crate) rows: u32,
    pub(crate) cols: u32,
}

impl Weights {
    /// Planes in the places of [`Planes`].
    pub(crate) fn planes(&self) -> Planes {
        let [first, second, third, fourth] = self.planes;
        let none = DevicePtr::NULL;
        match self.dtype {
            WeightDtype::Q4K => Planes {
                quants: first,
                high: none,
                scales: none,
                supers: second,
            },
            WeightDtype::Q6K => Planes {
                quants: first,
                high: second,
                scales: third,
                supers: fourth,
            },
            _ => Planes {
                quants: first,
                high: none,
                scales: second,
                supers: none,
            },
        }
    }

    /// Whether rows are numbers that need no unpacking.
    pub(crate) const fn is_dense(&self) -> bool {
        matches!(
            self.dtype,
            WeightDtype::F32 | WeightDtype::F16 | WeightDtype::BF16
        )
    }

    /// Whether there are kernels for the type and rows are made of whole 16-byte chunks or blocks.
    pub(crate) const fn served(&self) -> bool {
        let chunk = match self.dtype {
            WeightDtype::F32 => 4,
            WeightDtype::F16 | WeightDtype::BF16 => 8,
            WeightDtype::Q4_0 | WeightDtype::Q8_0 | WeightDtype::Mxfp4 => 32,
            WeightDtype::Q4K | WeightDtype::Q6K => 256,
            _ => return false,
        };
        self.rows > 0 && self.cols > 0 && self.cols.is_multiple_of(chunk)
    }

    /// Bytes of shared memory that a token's activations take.
    pub(crate) const fn staged_bytes(&self, width: u32) -> u32 {
        match self.dtype {
            WeightDtype::F32 | WeightDtype::F16 | WeightDtype::BF16 => width * 4,
            WeightDtype::Q6K => width / UNIT * 80,
            _ => width / UNIT * 64 + (width / UNIT * 8).next_multiple_of(16),
        }
    }
}

/// `Planes` of quant.cuh.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct Planes {
    pub(crate) quants: DevicePtr,
    pub(crate) high: DevicePtr,
    pub(crate) scales: DevicePtr,
    pub(crate) supers: DevicePtr,
}

/// What divides a norm's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Norming {
    /// No norm.
    #[default]
    None,
    /// The root of the mean square.
    Rms,
    /// The standard deviation, after the mean is subtracted.
    Layer,
}

/// `Input` of decode.cuh: `[tokens]` rows of `k` numbers, `stride` apart, and the norm in front.
#[derive(Clone, Copy, Debug, NoUninit)]
#[repr(C)]
pub(crate) struct Input {
    pub(crate) x: DevicePtr,
    pub(crate) weight: DevicePtr,
    pub(crate) bias: DevicePtr,
    pub(crate) k: u32,
    pub(crate) stride: u32,
    norm: u32,
    eps: f32,
}

impl Input {
    /// Rows as they are.
    pub(crate) fn plain(x: DevicePtr, k: u32, stride: u32) -> Self {
        Self {
            x,
            weight: DevicePtr::NULL,
            bias: DevicePtr::NULL,
            k,
            stride,
            norm: 0,
            eps: 0.0,
        }
    }

    /// Rows through a norm with this weight (and bias), or none.
    pub(crate) fn normed(
        self,
        kind: Norming,
        weight: DevicePtr,
        bias: DevicePtr,
        eps: f32,
    ) -> Self {
        let norm = match kind {
            Norming::None => 0,
            Norming::Rms => 1,
            Norming::Layer => 2,
        };
        Self {
            weight,
            bias,
            norm,
            eps,
            ..self
        }
    }

    /// The same from token `first` on.
    pub(crate) fn starting_at(self, first: u32) -> Self {
        Self {
            x: self.x.offset((first * self.stride) as usize * 4),
            ..self
        }
    }

    pub(crate) const fn is_layer_norm(&self) -> bool {
        self.norm == 2
    }

    /// An RMS norm never has a bias in front of these kernels, and rows begin at multiples of 16 bytes.
    pub(crate) const fn served(&self) -> bool {
        let biased_rms = self.norm == 1 && !self.bias.is_null();
        !biased_rms
            && self.stride.is_multiple_of(4)
            && self.x.0.is_multiple_of(16)
            && self.weight.0.is_multiple_of(16)
            && self.bias.0.is_multiple_of(16)
    }
}

/// `GluParams` of decode.cuh.
#[derive(Clone, Copy, Debug, Default, NoUninit)]
#[repr(C)]
pub(crate) struct GluParams {
    kind: u32,
    act: u32,
    alpha: f32,
    limit: f32,
    up_shift: f32,
}

impl From<Glu> for GluParams {
    fn from(glu: Glu) -> Self {
        match glu {
            Glu::Act(act) => Self {
                kind: 1,
                act: act_number(act),
                ..Self::default()
            },
            Glu::Clamped {
                alpha,
                limit,
                up_shift,
            } => Self {
                kind: 2,
                act: 0,
                alpha: alpha as f32,
                limit: limit as f32,
                up_shift: up_shift as f32,
            },
        }
    }
}

/// `Act` of decode.cuh.
pub(crate) const fn act_number(act: Act) -> u32 {
    match act {
        Act::Identity => 0,
        Act::Silu => 1,
        Act::Gelu => 2,
        Act::GeluTanh => 3,
        Act::Relu => 4,
        Act::Relu2 => 5,
        Act::Sigmoid => 6,
        Act::Softplus => 7,
    }
}

/// Blocks that give each multiprocessor as much work as any other: of 1 to `most` blocks a multiprocessor the number with
/// which the last round of `units` is fullest; of equals the larger.
pub(crate) fn even_grid(units: u32, most: u32, facts: DeviceFacts) -> u32 {
    let rounds = |blocks: u32| units.div_ceil(blocks * facts.sms);
    // Work of a multiprocessor in the slowest case, in units.
    let cost = |blocks: u32| rounds(blocks) * blocks;
    let best = (1..=most)
        .rev()
        .min_by_key(|blocks| cost(*blocks))
        .unwrap_or(1);
    (best * facts.sms).min(units).max(1)
}
