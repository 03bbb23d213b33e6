//! Blocks to f32, one element at a time: the reference of every faster kernel.

use half::{bf16, f16};

use super::WeightDtype;

/// Twice the values of the 4-bit float E2M1, which makes them whole numbers.
const E2M1_DOUBLED: [f32; 16] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, -0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0,
];

/// Dequantizes whole blocks; the caller has checked that `data` holds exactly those of `out`.
pub(super) fn blocks(dtype: WeightDtype, data: &[u8], out: &mut [f32]) {
    match dtype {
        WeightDtype::F32 => each::<4, 1>(data, out, |b, y| y[0] = f32::from_le_bytes(*b)),
        WeightDtype::F16 => each::<2, 1>(data, out, |b, y| y[0] = f16::from_le_bytes(*b).to_f32()),
        WeightDtype::BF16 => {
            each::<2, 1>(data, out, |b, y| y[0] = bf16::from_le_bytes(*b).to_f32())
        }
        WeightDtype::Q4_0 => each(data, out, q4_0),
        WeightDtype::Q4_1 => each(data, out, q4_1),
        WeightDtype::Q5_0 => each(data, out, q5_0),
        WeightDtype::Q5_1 => each(data, out, q5_1),
        WeightDtype::Q8_0 => each(data, out, q8_0),
        WeightDtype::Q2K => each(data, out, q2_k),
        WeightDtype::Q3K => each(data, out, q3_k),
        WeightDtype::Q4K => each(data, out, q4_k),
        WeightDtype::Q5K => each(data, out, q5_k),
        WeightDtype::Q6K => each(data, out, q6_k),
        WeightDtype::Mxfp4 => each(data, out, mxfp4),
    }
}

fn each<const BYTES: usize, const LEN: usize>(
    data: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (data, _) = data.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<LEN>();
    for (bytes, y) in data.iter().zip(out) {
        block(bytes, y);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (j, q) in block[2..].iter().enumerate() {
        y[j] = (f32::from(q & 15) - 8.0) * d;
        y[j + 16] = (f32::from(q >> 4) - 8.0) * d;
    }
}

fn q4_1(block: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (j, q) in block[4..].iter().enumerate() {
        y[j] = f32::from(q & 15) * d + m;
        y[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// The 32 5-bit numbers of `Q5_0` and `Q5_1`: four bytes of fifth bits, then sixteen of nibbles.
fn five_bits(block: &[u8]) -> [f32; 32] {
    let high = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    let fifth = |j: usize| ((high >> j & 1) << 4) as u8;
    let mut q = [0.0; 32];
    for (j, byte) in block[4..].iter().enumerate() {
        q[j] = f32::from(byte & 15 | fifth(j));
        q[j + 16] = f32::from(byte >> 4 | fifth(j + 16));
    }
    q
}

fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    *y = five_bits(&block[2..]).map(|q| (q - 16.0) * d);
}

fn q5_1(block: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    *y = five_bits(&block[4..]).map(|q| q * d + m);
}

fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// 16 bytes of (4-bit scale, 4-bit minimum), 64 of 2-bit numbers, f16 scale of scales, f16 scale of minima.
///
/// Each half of 128 elements has 32 bytes; element `32 s + l` of it is bits `2 s` of byte `l`.
fn q2_k(block: &[u8; 84], y: &mut [f32; 256]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (k, y) in y.iter_mut().enumerate() {
        let scale = scales[k / 16];
        let q = qs[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
        *y = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// 32 bytes of third bits, 64 of 2-bit numbers as in `Q2_K`, 12 of 6-bit scales, f16 scale of scales.
///
/// Third bit clear means minus 4: bit `k / 32` of byte `k % 32`. Scale j has its low four bits in nibble `j / 8` of byte
/// `j % 8` and its high two in bits `2 (j / 4)` of byte `8 + j % 4`, plus 32.
fn q3_k(block: &[u8; 110], y: &mut [f32; 256]) {
    let (high, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (k, y) in y.iter_mut().enumerate() {
        let j = k / 16;
        let scale = scales[j % 8] >> (j / 8 * 4) & 15 | (scales[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        let low = qs[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
        let third = high[k % 32] >> (k / 32) & 1;
        let q = f32::from(low | third << 2) - 4.0;
        *y = d * (f32::from(scale) - 32.0) * q;
    }
}

/// The j-th of eight 6-bit (scale, minimum) pairs in the 12 bytes that `Q4_K` and `Q5_K` share.
fn scale_min(scales: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        (
            scales[j + 4] & 15 | scales[j - 4] >> 6 << 4,
            scales[j + 4] >> 4 | scales[j] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// f16 scale of scales, f16 scale of minima, 12 bytes of them, 128 bytes: of each 32, the low nibbles are 32 elements and
/// the high ones the next 32.
fn q4_k(block: &[u8; 144], y: &mut [f32; 256]) {
    let (scales, qs) = (&block[4..16], &block[16..]);
    k_with_min(half_at(block, 0), half_at(block, 2), scales, y, |k| {
        nibble(qs, k)
    });
}

/// As `Q4_K`, with 32 bytes of fifth bits before the nibbles: bit `k / 32` of byte `k % 32`.
fn q5_k(block: &[u8; 176], y: &mut [f32; 256]) {
    let (scales, high, qs) = (&block[4..16], &block[16..48], &block[48..]);
    k_with_min(half_at(block, 0), half_at(block, 2), scales, y, |k| {
        nibble(qs, k) | (high[k % 32] >> (k / 32) & 1) << 4
    });
}

fn nibble(qs: &[u8], k: usize) -> u8 {
    qs[k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15
}

fn k_with_min(d: f32, dmin: f32, scales: &[u8], y: &mut [f32; 256], q: impl Fn(usize) -> u8) {
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales, j);
        let (scale, min) = (d * scale, dmin * min);
        for (l, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from(q(j * 32 + l)) - min;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, f16 scale of scales.
///
/// In each half of 128 elements, element `32 s + l` has nibble `s / 2` of low byte `32 (s % 2) + l` and bits `2 s` of
/// high byte `l`.
fn q6_k(block: &[u8; 210], y: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (k, y) in y.iter_mut().enumerate() {
        let (half, s, l) = (k / 128, k % 128 / 32, k % 32);
        let nibble = low[half * 64 + s % 2 * 32 + l] >> (s / 2 * 4) & 15;
        let pair = high[half * 32 + l] >> (s * 2) & 3;
        let q = f32::from(nibble | pair << 4) - 32.0;
        *y = d * f32::from(scales[k / 16].cast_signed()) * q;
    }
}

fn mxfp4(block: &[u8; 17], y: &mut [f32; 32]) {
    let scale = half_power_of_two(block[0]);
    for (j, byte) in block[1..].iter().enumerate() {
        y[j] = E2M1_DOUBLED[usize::from(byte & 15)] * scale;
        y[j + 16] = E2M1_DOUBLED[usize::from(byte >> 4)] * scale;
    }
}

/// `2^(e - 128)`: half of what an E8M0 byte stands for, because the numbers are doubled.
fn half_power_of_two(e: u8) -> f32 {
    match e {
        // Below the normal numbers of f32.
        0 | 1 => f32::from_bits(0x0020_0000 << e),
        _ => f32::from_bits(u32::from(e - 1) << 23),
    }
}
