//! The result of a product, written by many threads.

use std::marker::PhantomData;

/// A `[tokens, rows]` matrix of which each thread writes rows of its own.
pub(super) struct Output<'a> {
    data: *mut f32,
    tokens: usize,
    rows: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: a shared `Output` only gives access through `add` and `set`, whose callers promise that no two threads use the
// same row.
#[expect(unsafe_code, reason = "threads write interleaved parts of one slice")]
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// `None` if the slice has another length.
    pub(super) fn new(data: &'a mut [f32], tokens: usize, rows: usize) -> Option<Self> {
        (tokens.checked_mul(rows) == Some(data.len())).then_some(Self {
            data: data.as_mut_ptr(),
            tokens,
            rows,
            borrowed: PhantomData,
        })
    }

    /// Writes `values` to rows `row..` of a token, or adds them.
    ///
    /// # Safety
    /// No other thread may touch these rows meanwhile.
    #[expect(unsafe_code, reason = "threads write interleaved parts of one slice")]
    #[inline]
    pub(super) unsafe fn put(&self, token: usize, row: usize, values: &[f32], add: bool) {
        debug_assert!(token < self.tokens && row + values.len() <= self.rows);
        // SAFETY: within the slice that `new` checked and borrowed; exclusive by the caller's promise.
        let out = unsafe {
            std::slice::from_raw_parts_mut(self.data.add(token * self.rows + row), values.len())
        };
        if add {
            for (out, value) in out.iter_mut().zip(values) {
                *out += value;
            }
        } else {
            out.copy_from_slice(values);
        }
    }
}
