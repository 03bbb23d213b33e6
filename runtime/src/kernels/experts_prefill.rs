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
        Launch::new("sort_by_expert", [1, 1, 1], SORT_WARPS * 32, &params).shared(SORT_WARPS * self.expert_count * 4)
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
        let Self { from, to, rows_of, rows, stride } = *self;
        let params = GatherParams { from, to, rows_of, rows, stride };
        Launch::new("gather_rows", [rows.min(facts.sms * 8), 1, 1], THREADS, &params)
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
        let Self { y, places, weights, residual, out, tokens, top, width } = *self;
        let params = CombineParams { y, places, weights, residual, out, tokens, top, width, unused: 0 };
        Launch::new("combine_experts", [tokens, 1, 1], THREADS, &params)
    }
}
