//! Norms of rows: a block a row.

use bytemuck::NoUninit;

use super::{DevicePtr, Launch, WARP};

/// What a norm reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// `[rows, width]`
    pub(crate) x: DevicePtr,
    /// `[width]`, or none
    pub(crate) weight: DevicePtr,
    /// `[width]`, or none
    pub(crate) bias: DevicePtr,
    /// `[rows, width]`; may be `x`
    pub(crate) out: DevicePtr,
    pub(crate) rows: u32,
    pub(crate) width: u32,
    /// Whether the mean is subtracted first.
    pub(crate) centred: bool,
    /// Added to the mean square.
    pub(crate) eps: f32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    x: DevicePtr,
    weight: DevicePtr,
    bias: DevicePtr,
    out: DevicePtr,
    width: u32,
    centred: u32,
    eps: f32,
    unused: u32,
}

impl Norm {
    pub(crate) fn launch(&self) -> Launch {
        let Self {
            x,
            weight,
            bias,
            out,
            rows,
            width,
            centred,
            eps,
        } = *self;
        let params = Params {
            x,
            weight,
            bias,
            out,
            width,
            centred: centred.into(),
            eps,
            unused: 0,
        };
        let block = width.next_multiple_of(WARP).clamp(WARP, 1024);
        Launch::alone("norm_f32", [rows, 1, 1], block, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;

    /// The twin.
    fn norm(
        x: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        centred: bool,
        eps: f32,
    ) -> Vec<f32> {
        let n = x.len() as f64;
        let mean = if centred {
            x.iter().map(|x| f64::from(*x)).sum::<f64>() / n
        } else {
            0.0
        };
        let square = x
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let factor = 1.0 / (square + f64::from(eps)).sqrt();
        let at = |v: Option<&[f32]>, i: usize, none: f64| v.map_or(none, |v| f64::from(v[i]));
        let each = x.iter().enumerate();
        each.map(|(i, x)| {
            ((f64::from(*x) - mean) * factor * at(weight, i, 1.0) + at(bias, i, 0.0)) as f32
        })
        .collect()
    }

    #[test]
    fn a_block_is_whole_warps() {
        let norm = |width| Norm {
            x: DevicePtr(64),
            weight: DevicePtr::NULL,
            bias: DevicePtr::NULL,
            out: DevicePtr(128),
            rows: 3,
            width,
            centred: false,
            eps: 1e-5,
        };
        for (width, block) in [(1, 32), (33, 64), (2880, 1024)] {
            let launch = norm(width).launch();
            assert_eq!((launch.grid, launch.block), ([3, 1, 1], block));
            assert_eq!(launch.params.len(), 48);
            assert_eq!(launch.params[32..36], width.to_le_bytes());
        }
    }

    #[test]
    fn the_kernel_is_its_twin() {
        let Some(gpu) = Gpu::get() else { return };
        for (rows, width) in [(1, 1), (3, 7), (2, 576), (5, 2880), (1, 5000)] {
            for (centred, weighted) in [(false, true), (true, true), (false, false)] {
                let x = random(1, rows * width);
                let (weight, bias) = (random(2, width), random(3, width));
                let out = gpu.poisoned(rows * width);
                let (x_d, weight_d, bias_d) =
                    (gpu.upload(&x), gpu.upload(&weight), gpu.upload(&bias));
                let optional = |ptr| if weighted { ptr } else { DevicePtr::NULL };
                let launch = Norm {
                    x: x_d.ptr(),
                    weight: optional(weight_d.ptr()),
                    bias: optional(bias_d.ptr()),
                    out: out.ptr(),
                    rows: rows as u32,
                    width: width as u32,
                    centred,
                    eps: 1e-5,
                };
                gpu.run(&[launch.launch()]);
                let expected: Vec<f32> = x
                    .chunks_exact(width)
                    .flat_map(|row| {
                        norm(
                            row,
                            weighted.then_some(&weight),
                            weighted.then_some(&bias),
                            centred,
                            1e-5,
                        )
                    })
                    .collect();
                assert_close(
                    &gpu.download(&out),
                    &expected,
                    2e-6,
                    &format!("{rows} × {width}"),
                );
            }
        }
    }
}
