//! How the numbers of a weight are stored.

use super::{CheckpointError, dequantize};

/// Storage of a weight's numbers: plain floats, or blocks of consecutive elements of a row that share scales.
///
/// The block layouts are ggml's, all little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an [`F32`](Self::F32).
    BF16,
    /// 32 elements: f16 scale, 4-bit numbers minus 8.
    Q4_0,
    /// 32 elements: f16 scale, f16 minimum, 4-bit numbers.
    Q4_1,
    /// 32 elements: f16 scale, 5-bit numbers minus 16.
    Q5_0,
    /// 32 elements: f16 scale, f16 minimum, 5-bit numbers.
    Q5_1,
    /// 32 elements: f16 scale, signed bytes.
    Q8_0,
    /// 256 elements: 2-bit numbers, 4-bit scales and minima for each 16.
    Q2K,
    /// 256 elements: 3-bit numbers, 6-bit scales for each 16.
    Q3K,
    /// 256 elements: 4-bit numbers, 6-bit scales and minima for each 32.
    Q4K,
    /// 256 elements: 5-bit numbers, 6-bit scales and minima for each 32.
    Q5K,
    /// 256 elements: 6-bit numbers, 8-bit scales for each 16.
    Q6K,
    /// 32 elements: a power of two as one byte, then 4-bit floats (E2M1): the low half of byte j is element j, its high
    /// half element j + 16.
    Mxfp4,
}

impl WeightDtype {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Mxfp4,
    ];

    /// Elements of a block; 1 for floats.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Mxfp4 => 17,
        }
    }

    /// Whether elements stand alone, so that a matrix may be transposed and cut anywhere.
    #[must_use]
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Bytes of a row of `cols` elements; `None` if it is no whole number of blocks, or beyond `usize`.
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The name in messages and tables, as the field writes it: `Q4_K`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Mxfp4 => "MXFP4",
        }
    }

    /// Writes whole blocks as f32, the plain way that every kernel is measured against.
    ///
    /// # Errors
    /// If `out` is no whole number of blocks, or `data` is not exactly their bytes.
    pub fn dequantize(self, data: &[u8], out: &mut [f32]) -> Result<(), CheckpointError> {
        if self.row_bytes(out.len()) != Some(data.len()) {
            return Err(CheckpointError::Matrix(format!(
                "{} bytes of {self} are not {} elements",
                data.len(),
                out.len()
            )));
        }
        dequantize::blocks(self, data, out);
        Ok(())
    }
}

impl std::fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
