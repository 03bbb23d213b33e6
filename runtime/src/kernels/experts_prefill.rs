//! Experts of many tokens: tokens sorted by expert, rows copied in that order, results joined. All on the device.

use bytemuck::NoUninit;

use super::{DeviceFacts, DevicePtr, Launch};

const THREADS: u32 = 256;
const SORT_WARPS: u32 = 32;

/// Sorts (token, choice) entries by expert; among equals they keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortByExpert {
    /// u32 `[tokens, top]`
    pub(crate) experts: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) top: u32,
    pub(crate) expert_count: u32,
    /// u32 `[expert_count + 1]`: the first sorted row of each expert
    pub(crate) offsets: DevicePtr,
    /// u32 `[tokens, top]`: the sorted row of each entry
    pub(crate) places: DevicePtr,
    /// u32 `[tokens * top]`: the token of each sorted row
    pub(crate) tokens_of: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct SortParams {
    experts: DevicePtr,
    offsets: DevicePtr,
    places: DevicePtr,
    tokens_of: DevicePtr,
    count: u32,
    top: u32,
    expert_count: u32,
    unused: u32,
}

impl SortByExpert {
    pub(crate) fn launch(&self) -> Launch {
        let params = SortParams {
            experts: self.experts,
            offsets: self.offsets,
            places: self.places,
            tokens_of: self.tokens_of,
            count: self.tokens * self.top,
            top: self.top,
            expert_count: self.expert_count,
            unused: 0,
        };
        Launch::new("sort_by_expert", [1, 1, 1], SORT_WARPS * 32, &params)
            .shared(SORT_WARPS * self.expert_count * 4)
    }
}

/// Copies rows of halves: `to[r] = from[rows_of[r]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GatherRows {
    /// `[_, stride]`
    pub(crate) from: DevicePtr,
    /// `[rows, stride]`
    pub(crate) to: DevicePtr,
    /// u32 `[rows]`
    pub(crate) rows_of: DevicePtr,
    pub(crate) rows: u32,
    /// A multiple of 8.
    pub(crate) stride: u32,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct GatherParams {
    from: DevicePtr,
    to: DevicePtr,
    rows_of: DevicePtr,
    rows: u32,
    stride: u32,
}

impl GatherRows {
    pub(crate) fn launch(&self, facts: &DeviceFacts) -> Launch {
        let Self {
            from,
            to,
            rows_of,
            rows,
            stride,
        } = *self;
        let params = GatherParams {
            from,
            to,
            rows_of,
            rows,
            stride,
        };
        Launch::new(
            "gather_rows",
            [rows.min(facts.sms * 8), 1, 1],
            THREADS,
            &params,
        )
    }
}

/// Joins the results of a token's experts, always in the order of the router's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CombineExperts {
    /// f32 `[tokens * top, width]`, sorted by expert
    pub(crate) y: DevicePtr,
    /// u32 `[tokens, top]`: rows of `y`
    pub(crate) places: DevicePtr,
    /// f32 `[tokens, top]`
    pub(crate) weights: DevicePtr,
    /// f32 `[tokens, width]`
    pub(crate) out: DevicePtr,
    pub(crate) tokens: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    /// f32 `[tokens, width]`, added; may be `out`; or none
    pub(crate) residual: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct CombineParams {
    y: DevicePtr,
    places: DevicePtr,
    weights: DevicePtr,
    residual: DevicePtr,
    out: DevicePtr,
    tokens: u32,
    top: u32,
    width: u32,
    unused: u32,
}

impl CombineExperts {
    pub(crate) fn launch(&self) -> Launch {
        let Self {
            y,
            places,
            weights,
            residual,
            out,
            tokens,
            top,
            width,
        } = *self;
        let params = CombineParams {
            y,
            places,
            weights,
            residual,
            out,
            tokens,
            top,
            width,
            unused: 0,
        };
        Launch::new("combine_experts", [tokens, 1, 1], THREADS, &params)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Gpu, assert_close, random};
    use super::*;

    #[test]
    fn tokens_go_to_their_experts_and_back() {
        let Some(gpu) = Gpu::get() else { return };
        for (tokens, top, expert_count, width) in [
            (9, 2, 8, 64),
            (129, 4, 32, 200),
            (513, 3, 200, 72),
            (300, 1, 5, 8),
        ] {
            let pairs = tokens * top;
            // Distinct experts for each token; some experts get nobody.
            let experts: Vec<u32> = (0..tokens)
                .flat_map(|t| {
                    (0..top).map(move |j| ((t * 7 + t / 5 + j * 3) % (expert_count - 1)) as u32)
                })
                .collect();
            let mut sorted: Vec<usize> = (0..pairs).collect();
            sorted.sort_by_key(|entry| experts[*entry]);
            let experts_d = gpu.upload(&experts);
            let [offsets, places, tokens_of] =
                [expert_count + 1, pairs, pairs].map(|n| gpu.poisoned(n));
            let sort = SortByExpert {
                experts: experts_d.ptr(),
                tokens: tokens as u32,
                top: top as u32,
                expert_count: expert_count as u32,
                offsets: offsets.ptr(),
                places: places.ptr(),
                tokens_of: tokens_of.ptr(),
            };
            let rows: Vec<u16> = (0..tokens * width)
                .map(|i| (i * 31 % 65521) as u16)
                .collect();
            let (rows_d, gathered) = (gpu.upload(&rows), gpu.poisoned_bytes(pairs * width * 2));
            let gather = GatherRows {
                from: rows_d.ptr(),
                to: gathered.ptr(),
                rows_of: tokens_of.ptr(),
                rows: pairs as u32,
                stride: width as u32,
            };
            let (y, weights, residual) = (
                random(1, pairs * width),
                random(2, pairs),
                random(3, tokens * width),
            );
            let (y_d, weights_d, residual_d) =
                (gpu.upload(&y), gpu.upload(&weights), gpu.upload(&residual));
            let out = gpu.poisoned(tokens * width);
            let combine = CombineExperts {
                y: y_d.ptr(),
                places: places.ptr(),
                weights: weights_d.ptr(),
                residual: residual_d.ptr(),
                out: out.ptr(),
                tokens: tokens as u32,
                top: top as u32,
                width: width as u32,
            };
            gpu.run(&[
                sort.launch(),
                gather.launch(&gpu.0.facts()),
                combine.launch(),
            ]);

            let starts: Vec<u32> = (0..=expert_count as u32)
                .map(|e| experts.iter().filter(|expert| **expert < e).count() as u32)
                .collect();
            assert_eq!(gpu.download::<u32>(&offsets), starts);
            let expected: Vec<u16> = sorted
                .iter()
                .flat_map(|entry| &rows[entry / top * width..][..width])
                .copied()
                .collect();
            assert_eq!(gpu.download::<u16>(&gathered), expected);
            let mut place_of = vec![0; pairs];
            sorted
                .iter()
                .enumerate()
                .for_each(|(place, entry)| place_of[*entry] = place);
            let sums: Vec<f32> = (0..tokens * width)
                .map(|i| {
                    let (t, column) = (i / width, i % width);
                    let each = (t * top..(t + 1) * top)
                        .map(|entry| weights[entry] * y[place_of[entry] * width + column]);
                    residual[i] + each.sum::<f32>()
                })
                .collect();
            assert_close(
                &gpu.download(&out),
                &sums,
                1e-6,
                &format!("{tokens} tokens, {expert_count} experts"),
            );
        }
    }
}
