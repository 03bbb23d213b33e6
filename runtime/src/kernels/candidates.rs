//! The likeliest tokens of a distribution, for exact sampling on the host without reading all logits (`candidates.cu`).

use bytemuck::NoUninit;

use super::{DevicePtr, Launch};

/// Most candidates.
pub(crate) const CAPACITY: usize = 1024;

const STEPS: usize = 4096;
const BLOCKS: u32 = 64;
const THREADS: u32 = 512;

/// Bytes of each buffer for so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Zeros before the first launch.
    pub(crate) counts: usize,
    pub(crate) sums: usize,
    pub(crate) keys: usize,
}

/// How large the buffers are.
pub(crate) const fn sizes(tokens: usize) -> Sizes {
    Sizes { counts: tokens * (STEPS + 2) * 4, sums: tokens * BLOCKS as usize * 4, keys: tokens * CAPACITY * 8 }
}

/// At least `wanted` of the likeliest tokens, and the sum over all tokens of e^((logit − greatest) / temperature).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates {
    /// f32 `[tokens]` rows `stride` apart
    pub(crate) logits: DevicePtr,
    pub(crate) stride: u32,
    pub(crate) vocab: u32,
    pub(crate) tokens: u32,
    pub(crate) wanted: u32,
    /// u64 `[tokens]`: the greatest (logit, token); see `find_best`
    pub(crate) best: DevicePtr,
    /// Whether `best` is 0 and shall be found: a kernel more.
    pub(crate) find_best: bool,
    /// f32 `[tokens]`
    pub(crate) inverse_temperature: DevicePtr,
    pub(crate) counts: DevicePtr,
    pub(crate) sums: DevicePtr,
    /// u64 `[tokens, CAPACITY]`, the greatest first: [`unpack`]
    pub(crate) keys: DevicePtr,
    /// f32 `[tokens]`
    pub(crate) sum: DevicePtr,
    /// u32 `[tokens]`: how many there are; more than [`CAPACITY`]: read all logits instead
    pub(crate) count: DevicePtr,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Params {
    logits: DevicePtr,
    best: DevicePtr,
    counts: DevicePtr,
    sums: DevicePtr,
    inverse_temperature: DevicePtr,
    keys: DevicePtr,
    sum: DevicePtr,
    count: DevicePtr,
    vocab: u32,
    stride: u32,
    wanted: u32,
    unused: u32,
}

impl Candidates {
    /// Two or three launches.
    pub(crate) fn launches(&self) -> Vec<Launch> {
        let params = Params {
            logits: self.logits,
            best: self.best,
            counts: self.counts,
            sums: self.sums,
            inverse_temperature: self.inverse_temperature,
            keys: self.keys,
            sum: self.sum,
            count: self.count,
            vocab: self.vocab,
            stride: self.stride,
            wanted: self.wanted.min(CAPACITY as u32).min(self.vocab),
            unused: 0,
        };
        let first = usize::from(!self.find_best);
        let kernels = ["greatest_logit", "candidates_count", "candidates_collect"];
        let launch = |kernel| Launch::new(kernel, [BLOCKS, self.tokens, 1], THREADS, &params);
        kernels[first..].iter().copied().map(launch).collect()
    }
}

/// The logit and the token of a key; keys order by logit, then by the lower token, NaN above all.
pub(crate) fn unpack(key: u64) -> (f32, u32) {
    let order = (key >> 32) as u32;
    let bits = if order & 0x8000_0000 != 0 { order & 0x7fff_ffff } else { !order };
    (f32::from_bits(bits), !(key as u32))
}

/// The twin of `logit_key`.
#[cfg(test)]
pub(crate) fn pack(logit: f32, token: u32) -> u64 {
    let bits = if logit == 0.0 { 0 } else { logit.to_bits() };
    let order = match (logit.is_nan(), bits & 0x8000_0000 != 0) {
        (true, _) => u32::MAX,
        (_, true) => !bits,
        (_, false) => bits | 0x8000_0000,
    };
    u64::from(order) << 32 | u64::from(!token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_logit_then_by_the_lower_token() {
        let order = [(f32::NAN, 9), (f32::INFINITY, 7), (2.5, 0), (2.5, 1), (0.0, 3), (-0.0, 4), (-1.0, 0), (f32::NEG_INFINITY, 2)];
        let keys: Vec<u64> = order.iter().map(|(logit, token)| pack(*logit, *token)).collect();
        assert!(keys.is_sorted_by(|a, b| a > b), "{keys:?}");
        for (key, (logit, token)) in keys.into_iter().zip(order) {
            assert!(key != 0);
            let (found, id) = unpack(key);
            assert_eq!(id, token);
            assert!(found == logit || (found.is_nan() && logit.is_nan()), "{found} {logit}");
        }
    }

    #[test]
    fn the_kernels_count_down_from_the_greatest() {
        use super::super::testing::{Gpu, random};
        let Some(gpu) = Gpu::get() else { return };
        for (vocab, wanted) in [(1_usize, 5_u32), (77, 3), (5000, 64), (201_088, 256)] {
            let (tokens, stride) = (2_usize, vocab + 3);
            let logits: Vec<f32> = random(vocab as u64, tokens * stride).iter().map(|x| x * 4.0).collect();
            let size = sizes(tokens);
            let (logits_d, temperature) = (gpu.upload(&logits), gpu.upload(&[1.0_f32, 0.5]));
            let (best, counts) = (gpu.upload(&[0_u64; 2]), gpu.upload(&vec![0_u8; size.counts]));
            let (sums, keys) = (gpu.poisoned_bytes(size.sums), gpu.poisoned_bytes(size.keys));
            let (sum, count) = (gpu.poisoned(tokens), gpu.poisoned(tokens));
            let candidates = Candidates {
                logits: logits_d.ptr(),
                stride: stride as u32,
                vocab: vocab as u32,
                tokens: tokens as u32,
                wanted,
                best: best.ptr(),
                find_best: true,
                inverse_temperature: temperature.ptr(),
                counts: counts.ptr(),
                sums: sums.ptr(),
                keys: keys.ptr(),
                sum: sum.ptr(),
                count: count.ptr(),
            };
            gpu.run(&candidates.launches());
            let (keys, counts): (Vec<u64>, Vec<u32>) = (gpu.download(&keys), gpu.download(&count));
            let sums: Vec<f32> = gpu.download(&sum);
            for token in 0..tokens {
                let row = &logits[token * stride..][..vocab];
                let mut expected: Vec<u64> = row.iter().zip(0..).map(|(logit, id)| pack(*logit, id)).collect();
                expected.sort_unstable_by(|a, b| b.cmp(a));
                let count = counts[token] as usize;
                assert!(count >= (wanted as usize).min(vocab) && count <= CAPACITY, "{vocab}: {count}");
                assert_eq!(keys[token * CAPACITY..][..count], expected[..count]);
                let factor = [1.0, 0.5][token];
                let greatest = f64::from(unpack(expected[0]).0);
                let exact: f64 = row.iter().map(|x| ((f64::from(*x) - greatest) * factor).exp()).sum();
                assert!((f64::from(sums[token]) / exact - 1.0).abs() < 1e-5, "{} {exact}", sums[token]);
            }
        }
    }
}
