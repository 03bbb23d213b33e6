//! Activation functions as kernels number them.

use bytemuck::{NoUninit, Zeroable};

use crate::nn::{Act, Glu};

/// `GluParams` of activation.cuh.
#[derive(Clone, Copy, Debug, NoUninit, PartialEq, Zeroable)]
#[repr(C)]
pub(crate) struct GluParams {
    act: u32,
    alpha: f32,
    limit: f32,
    up_shift: f32,
}

/// What gpt-oss's way of joining has for an activation.
const CLAMPED: u32 = 8;

const fn number(act: Act) -> u32 {
    match act {
        Act::Silu => 0,
        Act::Gelu => 1,
        Act::GeluTanh => 2,
        Act::Relu => 3,
        Act::Relu2 => 4,
        Act::Sigmoid => 5,
        Act::Softplus => 6,
        Act::Identity => 7,
    }
}

impl GluParams {
    /// Whether the epilogues of products know it.
    pub(crate) fn in_epilogue(&self) -> bool {
        [number(Act::Silu), number(Act::GeluTanh), CLAMPED].contains(&self.act)
    }
}

impl From<Glu> for GluParams {
    fn from(glu: Glu) -> Self {
        match glu {
            Glu::Act(act) => Self { act: number(act), alpha: 0.0, limit: 0.0, up_shift: 0.0 },
            Glu::Clamped { alpha, limit, up_shift } => Self {
                act: CLAMPED,
                alpha: alpha as f32,
                limit: limit as f32,
                up_shift: up_shift as f32,
            },
        }
    }
}
