//! Element by element, and copies of rows and columns.

use bytemuck::NoUninit;

use super::{DevicePtr, Launch, THREADS, blocks_for};
use crate::nn::{Act, Glu};

/// The number of an activation function in kernels.
pub(crate) const fn act_number(act: Act) -> u32 {
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

/// `Glu` of act.cuh.
#[derive(Clone, Copy, Debug, PartialEq, NoUninit)]
#[repr(C)]
pub(crate) struct GluArg {
    pub(crate) clamped: u32,
    pub(crate) act: u32,
    pub(crate) alpha: f32,
    pub(crate) limit: f32,
    pub(crate) up_shift: f32,
}

impl From<Glu> for GluArg {
    fn from(glu: Glu) -> Self {
        match glu {
            Glu::Act(act) => Self {
                clamped: 0,
                act: act_number(act),
                alpha: 0.0,
                limit: 0.0,
                up_shift: 0.0,
            },
            Glu::Clamped {
                alpha,
                limit,
                up_shift,
            } => Self {
                clamped: 1,
                act: act_number(Act::Silu),
                alpha: alpha as f32,
                limit: limit as f32,
                up_shift: up_shift as f32,
            },
        }
    }
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct JoinParams {
    a: DevicePtr,
    b: DevicePtr,
    out: DevicePtr,
    count: u64,
    sign: f32,
    unused: u32,
}

/// `out = a + sign · b`
pub(crate) fn join(a: DevicePtr, b: DevicePtr, sign: f32, out: DevicePtr, count: u64) -> Launch {
    let params = JoinParams {
        a,
        b,
        out,
        count,
        sign,
        unused: 0,
    };
    Launch::alone("join_f32", blocks_for(count), THREADS, &params)
}

/// A function of each number: factor, then cap, then activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub(crate) factor: f32,
    /// 0 is off.
    pub(crate) softcap: f32,
    pub(crate) act: Act,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct MapParams {
    x: DevicePtr,
    out: DevicePtr,
    count: u64,
    factor: f32,
    softcap: f32,
    act: u32,
    unused: u32,
}

impl Map {
    /// Changes nothing.
    pub(crate) const IDENTITY: Self = Self {
        factor: 1.0,
        softcap: 0.0,
        act: Act::Identity,
    };

    pub(crate) fn launch(&self, x: DevicePtr, out: DevicePtr, count: u64) -> Launch {
        let Self {
            factor,
            softcap,
            act,
        } = *self;
        let params = MapParams {
            x,
            out,
            count,
            factor,
            softcap,
            act: act_number(act),
            unused: 0,
        };
        Launch::alone("map_f32", blocks_for(count), THREADS, &params)
    }
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GateParams {
    x: DevicePtr,
    gate: DevicePtr,
    out: DevicePtr,
    count: u64,
    each: u32,
    act: u32,
}

/// `out = x · act(gate)`, a gate for `each` neighbours.
pub(crate) fn gate(
    x: DevicePtr,
    gate: DevicePtr,
    each: u32,
    act: Act,
    out: DevicePtr,
    count: u64,
) -> Launch {
    let params = GateParams {
        x,
        gate,
        out,
        count,
        each,
        act: act_number(act),
    };
    Launch::alone("gate_f32", blocks_for(count), THREADS, &params)
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GluParams {
    gate_up: DevicePtr,
    out: DevicePtr,
    count: u64,
    inter: u32,
    glu: GluArg,
}

/// `[rows, gate | up]` → `[rows, inter]`
pub(crate) fn glu(gate_up: DevicePtr, how: Glu, out: DevicePtr, rows: u64, inter: u32) -> Launch {
    let count = rows * u64::from(inter);
    let params = GluParams {
        gate_up,
        out,
        count,
        inter,
        glu: how.into(),
    };
    Launch::alone("glu_f32", blocks_for(count), THREADS, &params)
}

/// Some rows and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    /// `[_, stride]`
    pub(crate) x: DevicePtr,
    pub(crate) stride: u32,
    /// Which rows; none: as they are.
    pub(crate) rows: DevicePtr,
    /// First column.
    pub(crate) start: u32,
    /// `[count, width]`
    pub(crate) out: DevicePtr,
    pub(crate) count: u32,
    pub(crate) width: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct PickParams {
    x: DevicePtr,
    rows: DevicePtr,
    out: DevicePtr,
    count: u64,
    stride: u32,
    start: u32,
    width: u32,
    unused: u32,
}

impl Pick {
    pub(crate) fn launch(&self) -> Launch {
        let Self {
            x,
            stride,
            rows,
            start,
            out,
            width,
            ..
        } = *self;
        let count = u64::from(self.count) * u64::from(width);
        let params = PickParams {
            x,
            rows,
            out,
            count,
            stride,
            start,
            width,
            unused: 0,
        };
        Launch::alone("pick_f32", blocks_for(count), THREADS, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;

    #[test]
    fn activations_are_those_of_the_cpu() {
        let Some(gpu) = Gpu::get() else { return };
        let acts = [
            Act::Silu,
            Act::Gelu,
            Act::GeluTanh,
            Act::Relu,
            Act::Relu2,
            Act::Sigmoid,
            Act::Softplus,
            Act::Identity,
        ];
        let x: Vec<f32> = random(1, 1000).iter().map(|x| 4.0 * x).collect();
        for act in acts {
            let (x_d, out) = (gpu.upload(&x), gpu.poisoned(x.len()));
            let map = Map {
                factor: 0.5,
                softcap: 3.0,
                act,
            };
            gpu.run(&[map.launch(x_d.ptr(), out.ptr(), x.len() as u64)]);
            let mut expected: Vec<f32> = x.iter().map(|x| 3.0 * (x * 0.5 / 3.0).tanh()).collect();
            crate::nn::apply_act(act, &mut expected);
            assert_close(&gpu.download(&out), &expected, 2e-6, &format!("{act:?}"));
        }
    }

    #[test]
    fn gate_and_up_join_as_on_the_cpu() {
        let Some(gpu) = Gpu::get() else { return };
        let (rows, inter) = (3, 37);
        let x: Vec<f32> = random(2, rows * 2 * inter)
            .iter()
            .map(|x| 5.0 * x)
            .collect();
        for how in [
            Glu::Act(Act::GeluTanh),
            Glu::Clamped {
                alpha: 1.702,
                limit: 7.0,
                up_shift: 1.0,
            },
        ] {
            let (x_d, out) = (gpu.upload(&x), gpu.poisoned(rows * inter));
            gpu.run(&[glu(x_d.ptr(), how, out.ptr(), rows as u64, inter as u32)]);
            let mut expected = vec![0.0; rows * inter];
            crate::nn::join_glu(how, &x, &mut expected, inter);
            assert_close(&gpu.download(&out), &expected, 2e-6, &format!("{how:?}"));
        }
    }

    #[test]
    fn rows_and_columns_are_picked() {
        let Some(gpu) = Gpu::get() else { return };
        let x: Vec<f32> = (0..20).map(|x| x as f32).collect();
        let (x_d, rows, out) = (gpu.upload(&x), gpu.upload(&[3_u32, 0]), gpu.poisoned(4));
        let pick = Pick {
            x: x_d.ptr(),
            stride: 5,
            rows: rows.ptr(),
            start: 2,
            out: out.ptr(),
            count: 2,
            width: 2,
        };
        gpu.run(&[pick.launch()]);
        assert_eq!(gpu.download::<f32>(&out), [17.0, 18.0, 2.0, 3.0]);
    }
}
