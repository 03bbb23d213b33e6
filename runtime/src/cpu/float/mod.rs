//! Products of f32 activations with float weights: exact, and the same for a token whatever its company.
//!
//! Structure. Every output is a dot product of a weight row and an activation row, both contiguous, so neither is
//! repacked and 16-bit weights are widened in registers. The micro-kernel computes a tile of `R` rows × `T` tokens with one
//! vector accumulator per output (4 × 6 with AVX-512: 24 multiply-adds for 10 loads); with one token the same tile is the
//! memory-bound matrix-vector product. Columns are cut in chunks of [`CHUNK`], so that the activations of a tile stay in
//! the first-level cache while weight rows stream past; each chunk's sum is added to the output. Because chunks,
//! accumulator lanes and the final reduction do not depend on the tile's shape, the result of a token does not depend on
//! how many tokens are in the call.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::ops::Range;

use super::Level;
use super::output::Output;

/// Columns of one partial sum: 6 tokens × 1024 × 4 bytes fit in a first-level cache.
const CHUNK: usize = 1024;
/// Most bytes of a row that are asked for ahead.
#[cfg(target_arch = "x86_64")]
const MAX_AHEAD: usize = 8 << 10;
/// Weight rows of a micro-kernel tile; a task of a matrix product should be a multiple of it.
pub(super) const TILE_ROWS: usize = 4;

/// How weights are stored, known at compile time.
pub(super) trait Element {
    /// Which one.
    const KIND: Kind;
}

/// The element types that [`Element`] stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    BF16,
}

impl Kind {
    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Element for F32 {
    const KIND: Kind = Kind::F32;
}
impl Element for F16 {
    const KIND: Kind = Kind::F16;
}
impl Element for BF16 {
    const KIND: Kind = Kind::BF16;
}

/// One product `[tokens, cols] × [rows, cols]ᵀ`, seen by all threads.
pub(super) struct Product<'a> {
    x: &'a [f32],
    tokens: usize,
    cols: usize,
    out: &'a Output<'a>,
}

/// Some weight rows and where their results go: row `i` of `data` is row `first + i` of the output.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Row-major, not aligned.
    pub(super) data: &'a [u8],
    pub(super) first: usize,
    pub(super) count: usize,
}

impl<'a> Product<'a> {
    /// The product of `x` `[tokens, cols]`, whose size the caller has checked.
    pub(super) fn new(x: &'a [f32], tokens: usize, cols: usize, out: &'a Output<'a>) -> Self {
        Self {
            x,
            tokens,
            cols,
            out,
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Computes the results of some rows for all tokens. Only one thread at a time may work on a row.
    #[expect(unsafe_code, reason = "calls the kernels of the level")]
    pub(super) fn run(&self, level: Level, kind: Kind, rows: Rows<'_>) {
        assert!(level.is_supported() && self.x.len() == self.tokens * self.cols);
        assert!(rows.data.len() == rows.count * self.cols * kind.bytes());
        if self.tokens == 0 {
            return;
        }
        // SAFETY: the machine has the instructions, there is a token, and `x` and the rows' bytes have the sizes that the kernels read.
        unsafe {
            match (level, kind) {
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512 | Level::Vnni, Kind::F32) => avx512::run::<F32>(self, rows),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512 | Level::Vnni, Kind::F16) => avx512::run::<F16>(self, rows),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512 | Level::Vnni, Kind::BF16) => avx512::run::<BF16>(self, rows),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, Kind::F32) => avx2::run::<F32>(self, rows),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, Kind::F16) => avx2::run::<F16>(self, rows),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, Kind::BF16) => avx2::run::<BF16>(self, rows),
                (_, Kind::F32) => scalar::run::<F32>(self, rows),
                (_, Kind::F16) => scalar::run::<F16>(self, rows),
                (_, Kind::BF16) => scalar::run::<BF16>(self, rows),
            }
        }
    }

    /// How far before their use weights are asked for when one token streams them: short rows one tile ahead, because
    /// the hardware has hardly seen where a row goes when it ends.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn bytes_ahead(&self, size: usize) -> usize {
        (self.cols * size * TILE_ROWS).min(MAX_AHEAD)
    }

    /// The column ranges of the partial sums.
    #[inline]
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let cols = self.cols;
        // At least one: an empty sum is a result too.
        (0..cols.max(1))
            .step_by(CHUNK)
            .map(move |start| start..cols.min(start + CHUNK))
    }

    /// Stores the sums of a tile for one chunk of columns.
    ///
    /// # Safety
    /// As [`Output::put`].
    #[expect(unsafe_code, reason = "passes on `Output::put`")]
    #[inline]
    unsafe fn store<const R: usize, const T: usize>(
        &self,
        row: usize,
        token: usize,
        start: usize,
        sums: [[f32; R]; T],
    ) {
        for (t, sums) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.out.put(token + t, row, sums, start > 0) };
        }
    }
}

/// Writes the loops around a micro-kernel `tile::<E, R, T>(product, rows, row, token, columns) -> [[f32; R]; T]`: cuts the
/// rows × tokens × columns of a task in tiles of at most 4 × `$max` and calls it. A macro because functions with target
/// features must inline into each other.
macro_rules! tiles {
    ($features:literal, $max:literal, [$($tokens:literal),*]) => {
        /// Computes the results of `rows` for all tokens.
        ///
        /// # Safety
        /// The machine must have the instructions, there must be a token, `rows.data` must be `rows.count` rows of
        /// `product.cols` elements, and no other thread may work on these rows.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn run<E: Element>(product: &Product<'_>, rows: Rows<'_>) {
            if product.tokens <= $max {
                for row in (0..rows.count).step_by(TILE_ROWS) {
                    for columns in product.chunks() {
                        // SAFETY: the caller's promises.
                        unsafe { strip::<E>(product, rows, row..row + TILE_ROWS, 0, columns) };
                    }
                }
                return;
            }
            for columns in product.chunks() {
                for token in (0..product.tokens).step_by($max) {
                    // SAFETY: the caller's promises.
                    unsafe { strip::<E>(product, rows, 0..rows.count, token, columns.clone()) };
                }
            }
        }

        /// Rows `range` (cut at the last) × up to `$max` tokens from `token` × one chunk.
        #[target_feature(enable = $features)]
        unsafe fn strip<E: Element>(
            product: &Product<'_>,
            rows: Rows<'_>,
            range: Range<usize>,
            token: usize,
            columns: Range<usize>,
        ) {
            let end = range.end.min(rows.count);
            let mut row = range.start;
            while row < end {
                let left = end - row;
                let step = if left >= TILE_ROWS { TILE_ROWS } else { 1 };
                // SAFETY: the caller's promises; rows and tokens lie within theirs.
                unsafe {
                    match (step, product.tokens - token) {
                        $(
                            (TILE_ROWS, $tokens) => one::<E, TILE_ROWS, $tokens>(product, rows, row, token, &columns),
                            (_, $tokens) => one::<E, 1, $tokens>(product, rows, row, token, &columns),
                        )*
                        (TILE_ROWS, _) => one::<E, TILE_ROWS, $max>(product, rows, row, token, &columns),
                        _ => one::<E, 1, $max>(product, rows, row, token, &columns),
                    }
                }
                row += step;
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn one<E: Element, const R: usize, const T: usize>(
            product: &Product<'_>,
            rows: Rows<'_>,
            row: usize,
            token: usize,
            columns: &Range<usize>,
        ) {
            // SAFETY: the caller's promises.
            unsafe {
                let sums = tile::<E, R, T>(product, rows, row, token, columns);
                product.store(rows.first + row, token, columns.start, sums);
            }
        }
    };
}
use tiles;
